import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { modelFolder } from '../../lib/cli/kit/model-folder.js';
import {
  type DownloadProgress,
  downloadFiles,
  Policy,
  resolveModel,
  resolveTokenizer,
  Tokenizer,
} from '../../lib/index.js';
import { COMMIT, type FakeHub, fakeHub, type Seen, sha256Of } from '../fakes/hub.js';

/** Bytes without a period that a misplaced part could hide behind. */
function weights(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0, x = seed; i < size; i++) bytes[i] = (x = (x * 1103515245 + 12345) & 0x7fffffff) >> 16;
  return bytes;
}
const W = weights(300_000, 1);
const SHARDS = {
  'model-00001-of-00002.safetensors': weights(50_000, 2),
  'model-00002-of-00002.safetensors': weights(70_000, 3),
};
const INDEX = JSON.stringify({
  weight_map: { a: Object.keys(SHARDS)[0], b: Object.keys(SHARDS)[1], c: Object.keys(SHARDS)[1] },
});
const TOKENIZER = { 'tokenizer.json': '{"model":{}}', 'tokenizer_config.json': '{}', 'chat_template.jinja': 'hello' };
const REPOS = {
  'small/model': {
    files: {
      'README.md': '# hi',
      'config.json': '{"a":1}',
      ...TOKENIZER,
      'model.safetensors': W,
      'pytorch_model.bin': weights(1000, 9),
      'original/consolidated.00.pth': 'x',
      'onnx/config.json': '{}',
    },
    refs: ['v1', 'refs/pr/2'],
  },
  'large/sharded': { files: { 'config.json': '{}', 'model.safetensors.index.json': INDEX, ...SHARDS } },
  'gated/model': { files: { 'config.json': '{}', 'model.safetensors': W }, gated: 'secret-token' },
  'only/torch': { files: { 'config.json': '{}', 'pytorch_model.bin': 'x' } },
  'some/data': {
    type: 'dataset' as const,
    files: { 'data/train-0.parquet': W, 'data/test.jsonl': '{}\n', 'README.md': '' },
  },
};

let hub: FakeHub;
let home: string;
const VARIABLES = ['HF_ENDPOINT', 'HF_HOME', 'HF_HUB_CACHE', 'HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_HUB_DOWNLOAD_TIMEOUT'];
const saved = VARIABLES.map((name) => process.env[name]);
const cacheOf = (name: string, type = 'models') => join(home, 'hub', `${type}--${name.replace('/', '--')}`);
const read = (path: string) => new Uint8Array(readFileSync(path));
const blobsOf = (name: string) => readdirSync(join(cacheOf(name), 'blobs')).sort();
const files = (host: Seen['host']) => hub.seen.filter(({ host: h, url }) => h === host && url.includes('/resolve/'));

function begin(name: string) {
  const tests = suite(name);
  tests.before.each(async () => {
    for (const variable of VARIABLES) delete process.env[variable];
    hub = await fakeHub(REPOS);
    home = realpathSync(mkdtempSync(join(tmpdir(), 'prl-hub-')));
    process.env.HF_ENDPOINT = hub.url;
    process.env.HF_HOME = home;
  });
  tests.after.each(async () => {
    await hub.close();
    rmSync(home, { recursive: true, force: true });
    VARIABLES.forEach((variable, i) => {
      if (saved[i] === undefined) delete process.env[variable];
      else process.env[variable] = saved[i];
    });
  });
  return tests;
}

async function fails(promise: Promise<unknown>, code: string, ...words: (string | RegExp)[]): Promise<void> {
  const error = await promise.then(
    () => assert.unreachable(`${code} was expected`),
    (e) => e,
  );
  assert.is(error.code, code, error.stack);
  for (const word of words) assert.match(error.message, word);
}

/** Warnings of `work`, which are not shown. */
async function warnings<T>(work: () => Promise<T>): Promise<[T, string[]]> {
  const heard: string[] = [];
  const { emitWarning } = process;
  process.emitWarning = (message: string | Error, ...[type]: unknown[]) => {
    assert.is(type, 'PrlWarning', String(message));
    heard.push(String(message));
  };
  try {
    return [await work(), heard];
  } finally {
    process.emitWarning = emitWarning;
  }
}

const layout = begin('resolveModel');
layout('resolveModel returns a folder as it is and requests nothing', async () => {
  assert.is(await resolveModel(home), home);
  assert.is(hub.seen.length, 0);
});
layout('resolveModel downloads into the shared cache and skips files that nobody reads', async () => {
  const folder = await resolveModel('small/model');
  assert.is(folder, join(cacheOf('small/model'), 'snapshots', COMMIT));
  assert.equal(readdirSync(folder).sort(), [
    'chat_template.jinja',
    'config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  assert.equal(read(join(folder, 'model.safetensors')), W);
  assert.is(readFileSync(join(folder, 'config.json'), 'utf8'), '{"a":1}');
  assert.is(realpathSync(join(folder, 'model.safetensors')), join(cacheOf('small/model'), 'blobs', sha256Of(W)));
  assert.is(readFileSync(join(cacheOf('small/model'), 'refs', 'main'), 'utf8'), COMMIT);
  assert.not.ok(blobsOf('small/model').some((name) => name.includes('incomplete')));
});
layout('resolveModel downloads the shards that the index names', async () => {
  const folder = await resolveModel('large/sharded');
  for (const [name, content] of Object.entries(SHARDS)) assert.equal(read(join(folder, name)), content, name);
});
layout('a second call asks for the commit alone, and a commit id needs no request', async () => {
  const folder = await resolveModel('small/model');
  hub.seen.length = 0;
  assert.is(await resolveModel('small/model'), folder);
  assert.is(hub.seen.length, 1);
  assert.match(hub.seen[0].url, '/revision/main');
  assert.is(await resolveModel(`small/model@${COMMIT}`), folder);
  assert.is(hub.seen.length, 1);
});
layout('a revision may follow the id or be an option, may hold slashes, and must be safe', async () => {
  await resolveModel('small/model@v1');
  await resolveModel('small/model', { revision: 'refs/pr/2' });
  assert.is(readFileSync(join(cacheOf('small/model'), 'refs', 'v1'), 'utf8'), COMMIT);
  assert.is(readFileSync(join(cacheOf('small/model'), 'refs/refs/pr/2'), 'utf8'), COMMIT);
  await fails(resolveModel('small/model@v1', { revision: 'v2' }), 'ERR_PRL_INVALID_ARGUMENT', 'v2');
  await fails(resolveModel('small/model@../../x'), 'ERR_PRL_INVALID_ARGUMENT', 'revision');
  await fails(resolveModel('small/model@v9'), 'ERR_PRL_NOT_FOUND', 'no such revision');
});
layout('HF_HUB_CACHE and the option cacheDir choose the cache folder', async () => {
  process.env.HF_HUB_CACHE = join(home, 'a');
  assert.match(await resolveTokenizer('small/model'), join(home, 'a', 'models--small--model'));
  assert.match(await resolveTokenizer('small/model', { cacheDir: join(home, 'b') }), join(home, 'b', 'models--'));
});
layout('resolveTokenizer downloads no weights', async () => {
  const folder = await resolveTokenizer('small/model');
  assert.equal(readdirSync(folder).sort(), [
    'chat_template.jinja',
    'config.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
});
layout('onProgress counts bytes up to the total', async () => {
  const heard: { bytes: number; totalBytes: number }[] = [];
  await resolveModel('small/model', { onProgress: (progress) => heard.push(progress) });
  assert.is(heard.at(-1)!.bytes, W.length);
  assert.ok(heard.every(({ totalBytes }) => totalBytes === W.length));
  assert.ok(heard.every(({ bytes }, i) => i === 0 || bytes >= heard[i - 1].bytes));
});
layout('the command line reports a download on stderr, and says nothing the second time', async () => {
  const said: string[] = [];
  const { error, log } = console;
  console.error = (line: string) => said.push(line);
  console.log = (line: string) => assert.unreachable(`on stdout: ${line}`);
  try {
    const folder = await modelFolder('small/model');
    assert.equal(said, ['downloading small/model: 0.3 MB', `small/model is in ${folder}`]);
    assert.is(await modelFolder('small/model'), folder);
    assert.is(said.length, 2);
  } finally {
    Object.assign(console, { error, log });
  }
});
layout('downloadFiles fetches the matching files of a dataset', async () => {
  const { folder, files, commit } = await downloadFiles('some/data', {
    type: 'dataset',
    match: (path) => path.startsWith('data/'),
  });
  assert.is(folder, join(cacheOf('some/data', 'datasets'), 'snapshots', COMMIT));
  assert.equal(files, ['data/train-0.parquet', 'data/test.jsonl']);
  assert.is(commit, COMMIT);
  assert.equal(read(join(folder, files[0])), W);
  await fails(
    downloadFiles('some/data', { type: 'dataset', match: () => false }),
    'ERR_PRL_NOT_FOUND',
    'data/test.jsonl',
  );
});
layout('an unknown model, a missing folder, or a model without safetensors is an error that says so', async () => {
  await fails(resolveModel('no/such'), 'ERR_PRL_ACCESS', 'no/such', 'check the name');
  await fails(resolveModel('./no/such'), 'ERR_PRL_IO', /no folder .\/no\/such$/);
  await fails(resolveModel('quickstart'), 'ERR_PRL_IO', 'no folder quickstart, nor is it an id');
  await fails(resolveModel(join(home, 'token')), 'ERR_PRL_IO', 'no folder');
  await fails(resolveModel('only/torch'), 'ERR_PRL_NOT_FOUND', 'model.safetensors', 'pytorch_model.bin');
  await fails(resolveModel('small/model', { revison: 'x' } as object), 'ERR_PRL_UNKNOWN_OPTION', 'revision');
});
layout('Policy.load and Tokenizer.load accept a hub id', async () => {
  const fixture = (path: string) => readFileSync(new URL(`../fixtures/${path}`, import.meta.url));
  const files: { [name: string]: Uint8Array } = {};
  for (const name of ['config.json', 'model.safetensors']) files[name] = new Uint8Array(fixture(`model/llama/${name}`));
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'generation_config.json'])
    files[name] = new Uint8Array(fixture(`tokenizers/llama3/${name}`));
  const own = await fakeHub({ 'tiny/llama': { files } });
  try {
    process.env.HF_ENDPOINT = own.url;
    const tokenizer = await Tokenizer.load('tiny/llama');
    assert.is(tokenizer.stopTokenIds.length, 3);
    assert.is(tokenizer.hasChatTemplate, true);
    assert.not.ok(
      own.seen.some(({ host }) => host === 'cdn'),
      'no weights for a tokenizer',
    );
    const policy = await Policy.load('tiny/llama');
    const [name] = policy.parameters.map(({ name }) => name);
    const local = await Policy.load(fileURLToPath(new URL('../fixtures/model/llama', import.meta.url)));
    assert.equal(policy.readParameter(name).data, local.readParameter(name).data);
  } finally {
    await own.close();
  }
});
layout.run();

const access = begin('hub: access and hostile answers');
access('a gated model explains what to do, loads with a token, and the token stays with the hub', async () => {
  await fails(resolveModel('gated/model'), 'ERR_PRL_ACCESS', 'HF_TOKEN', 'licence', `${hub.url}/gated/model`);
  process.env.HF_TOKEN = 'wrong';
  await fails(resolveModel('gated/model'), 'ERR_PRL_ACCESS', '403', 'licence');
  process.env.HF_TOKEN = 'secret-token';
  hub.seen.length = 0;
  await resolveModel('gated/model');
  assert.ok(hub.seen.some(({ host }) => host === 'cdn'));
  for (const { host, authorization } of hub.seen)
    assert.is(authorization, host === 'hub' ? 'Bearer secret-token' : undefined);
});
access('the token may be an option or the one that a login stored', async () => {
  await resolveTokenizer('gated/model', { token: 'secret-token' });
  rmSync(cacheOf('gated/model'), { recursive: true });
  writeFileSync(join(home, 'token'), 'secret-token\n');
  await resolveTokenizer('gated/model');
});
access('a redirect to file: is not followed, and a redirect loop ends', async () => {
  hub.intercept = ({ url }, response) => {
    if (!url.includes('/resolve/')) return false;
    response.writeHead(302, { location: 'file:///etc/passwd' }).end();
    return true;
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_HTTP', 'not followed');
  hub.intercept = ({ url }, response) => {
    if (!url.includes('/resolve/')) return false;
    response.writeHead(302, { location: url }).end();
    return true;
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_HTTP', 'redirects more than');
});
for (const path of ['../evil.json', '/etc/evil.json', 'a/../../evil', 'C:/evil', 'a\\..\\evil', 'a//b', ''])
  access(`a file named ${JSON.stringify(path)} is refused`, async () => {
    hub.tamper = (entry) => {
      if (entry.path === 'README.md') entry.path = path;
    };
    await fails(downloadFiles('small/model', { match: () => true }), 'ERR_PRL_HTTP', 'refused');
    assert.is(files('hub').length, 0);
  });
access('a hash or an index that holds a path outside the cache is refused', async () => {
  hub.tamper = (entry) => {
    entry.oid = '../../x';
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_HTTP', 'hash');
  hub.tamper = undefined;
  const index = REPOS['large/sharded'].files as { [name: string]: string | Uint8Array };
  index['model.safetensors.index.json'] = JSON.stringify({ weight_map: { a: '../../x.safetensors' } });
  try {
    await fails(resolveModel('large/sharded'), 'ERR_PRL_CORRUPT', '../../x.safetensors');
  } finally {
    index['model.safetensors.index.json'] = INDEX;
  }
});
access.run();

const failures = begin('hub: interrupted downloads');
/** The next request for the weights is answered with `head` and `body`, and cut off. */
function once_(answer: (seen: Seen, response: ServerResponse) => void): void {
  let done = false;
  hub.intercept = (seen, response) => {
    if (done || seen.host !== 'cdn') return false;
    done = true;
    answer(seen, response);
    return true;
  };
}
failures('a broken connection resumes where it broke', async () => {
  let broken: ServerResponse | undefined;
  once_((_, response) => {
    broken = response;
    response.writeHead(200, { 'content-length': W.length });
    response.write(W.subarray(0, 100_000));
  });
  const folder = await resolveModel('small/model', {
    onProgress: ({ bytes }) => bytes === 100_000 && broken!.destroy(),
  });
  assert.equal(read(join(folder, 'model.safetensors')), W);
  assert.equal(
    files('cdn').map(({ range }) => range),
    [undefined, 'bytes=100000-'],
  );
});
failures('a server that falls silent is dropped and the download resumes', async () => {
  process.env.HF_HUB_DOWNLOAD_TIMEOUT = '1.5';
  once_((_, response) => {
    response.writeHead(200, { 'content-length': W.length });
    response.write(W.subarray(0, 5000));
  });
  const folder = await resolveModel('small/model');
  assert.equal(read(join(folder, 'model.safetensors')), W);
  assert.is(files('cdn')[1].range, 'bytes=5000-');
});
failures('a listing that never ends is refused', async () => {
  const page = JSON.stringify(
    Array.from({ length: 30_000 }, (_, i) => ({ type: 'directory', path: `f${i}`, size: 0, oid: '' })),
  );
  hub.intercept = ({ url }, response) => {
    if (!url.includes('/tree/')) return false;
    response.writeHead(200, { 'content-type': 'application/json', link: `<${hub.url}${url}>; rel="next"` }).end(page);
    return true;
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_UNSUPPORTED', 'more than 100000 files');
});
failures('429 and 503 are retried after retry-after, and 400 is not retried', async () => {
  let count = 0;
  const start = performance.now();
  hub.intercept = ({ host }, response) => {
    if (host !== 'hub' || ++count > 2) return false;
    response.writeHead(count === 1 ? 429 : 503, count === 1 ? { 'retry-after': '1' } : {}).end();
    return true;
  };
  await resolveTokenizer('small/model');
  assert.ok(performance.now() - start >= 1000, 'retry-after');
  rmSync(cacheOf('small/model'), { recursive: true });
  hub.seen.length = 0;
  hub.intercept = (_, response) => {
    response.writeHead(400, { 'x-error-message': 'Bad thing' }).end();
    return true;
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_HTTP', '400', 'Bad thing');
  assert.is(hub.seen.length, 1);
});
failures('a server that ignores the range sends the file anew', async () => {
  const partial = join(cacheOf('small/model'), 'blobs', `${sha256Of(W)}.prl.incomplete`);
  mkdirSync(join(cacheOf('small/model'), 'blobs'), { recursive: true });
  writeFileSync(partial, W.subarray(0, 7777));
  once_((_, response) => response.writeHead(200, { 'content-length': W.length }).end(W));
  const folder = await resolveModel('small/model');
  assert.is(files('cdn')[0].range, 'bytes=7777-');
  assert.is(files('cdn').length, 1);
  assert.equal(read(join(folder, 'model.safetensors')), W);
});
failures('a corrupt partial download is found by its hash and fetched again', async () => {
  const partial = join(cacheOf('small/model'), 'blobs', `${sha256Of(W)}.prl.incomplete`);
  mkdirSync(join(cacheOf('small/model'), 'blobs'), { recursive: true });
  for (const size of [1000, W.length, W.length + 1]) {
    rmSync(join(cacheOf('small/model'), 'blobs', sha256Of(W)), { force: true });
    writeFileSync(partial, new Uint8Array(size));
    const folder = await resolveModel('small/model');
    assert.equal(read(join(folder, 'model.safetensors')), W, String(size));
  }
});
failures('contents with another hash are ERR_PRL_CORRUPT and are not kept, weights and text alike', async () => {
  const wrong = W.slice();
  wrong[12_345] ^= 1;
  hub.intercept = ({ host }, response) => {
    if (host === 'cdn') response.writeHead(200).end(wrong);
    return host === 'cdn';
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_CORRUPT', 'hash', 'model.safetensors');
  assert.not.ok(blobsOf('small/model').some((name) => name.startsWith(sha256Of(W))));
  hub.intercept = ({ url }, response) => {
    if (url.endsWith('/tokenizer.json')) response.writeHead(200).end('{"model":[]}');
    return url.endsWith('/tokenizer.json');
  };
  rmSync(cacheOf('small/model'), { recursive: true });
  await fails(resolveModel('small/model'), 'ERR_PRL_CORRUPT', 'hash', 'tokenizer.json');
});
failures('a server that sends too much is refused, and one that sends too little is asked again', async () => {
  hub.intercept = ({ host }, response) => {
    if (host === 'cdn') response.writeHead(200).end(new Uint8Array([...W, ...W]));
    return host === 'cdn';
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_HTTP', 'must have 300000 bytes, as the hub lists, but sends more');
  hub.intercept = undefined;
  let size = W.length;
  once_((_, response) => response.writeHead(200).end(W.subarray(0, (size = 1234))));
  rmSync(cacheOf('small/model'), { recursive: true });
  const folder = await resolveModel('small/model');
  assert.is(size, 1234);
  assert.equal(read(join(folder, 'model.safetensors')), W);
});
failures('a cached file that lost its end is fetched again', async () => {
  const folder = await resolveModel('small/model');
  truncateSync(realpathSync(join(folder, 'model.safetensors')), 10);
  await resolveModel('small/model');
  assert.equal(read(join(folder, 'model.safetensors')), W);
});
failures('a model larger than the free disk is refused before the first byte', async () => {
  hub.tamper = ({ lfs }) => {
    if (lfs) lfs.size = 1e15;
  };
  await fails(resolveModel('small/model'), 'ERR_PRL_IO', 'needs 1000000.00 GB more', 'HF_HOME');
  assert.is(files('cdn').length, 0);
});
failures('a cache path that is a file is ERR_PRL_IO', async () => {
  writeFileSync(join(home, 'hub'), '');
  await fails(resolveModel('small/model'), 'ERR_PRL_IO', 'cannot store the model small/model');
});
failures('aborting keeps what has arrived, and the next call resumes from there', async () => {
  const stop = new AbortController();
  once_((_, response) => {
    response.writeHead(200, { 'content-length': W.length });
    response.write(W.subarray(0, 50_000));
  });
  const onProgress = ({ bytes }: DownloadProgress) => bytes === 50_000 && stop.abort();
  await fails(resolveModel('small/model', { signal: stop.signal, onProgress }), 'ERR_PRL_ABORTED');
  await fails(resolveModel('small/model', { signal: stop.signal }), 'ERR_PRL_ABORTED');
  await resolveModel('small/model');
  assert.is(files('cdn').at(-1)!.range, 'bytes=50000-', 'what came is kept');
});
failures.run();

const offline = begin('hub: offline');
offline('HF_HUB_OFFLINE loads cached models without a request and refuses all else', async () => {
  const folder = await resolveModel('small/model');
  hub.seen.length = 0;
  process.env.HF_HUB_OFFLINE = '1';
  assert.is(await resolveModel('small/model'), folder);
  await fails(resolveModel('large/sharded'), 'ERR_PRL_OFFLINE', 'HF_HUB_OFFLINE');
  await fails(resolveModel('small/model@v1'), 'ERR_PRL_OFFLINE', 'v1');
  await fails(downloadFiles('small/model', { match: (path) => path === 'README.md' }), 'ERR_PRL_OFFLINE', 'README.md');
  assert.is(hub.seen.length, 0);
});
offline('a cached model loads with a warning when the hub cannot be reached', async () => {
  const folder = await resolveModel('small/model');
  await hub.close();
  const [again, heard] = await warnings(() => resolveModel('small/model'));
  assert.is(again, folder);
  assert.is(heard.length, 1);
  assert.match(heard[0], 'cannot reach');
  assert.match(heard[0], 'cached model small/model');
});
offline('a broken hub, or a login portal in its place, counts as unreachable', async () => {
  const folder = await resolveModel('small/model');
  for (const [status, body] of [
    [500, ''],
    [200, '<html>please log in</html>'],
  ] as const) {
    hub.intercept = (_, response) => !!response.writeHead(status, { 'content-type': 'text/html' }).end(body);
    const [again, heard] = await warnings(() => resolveModel('small/model'));
    assert.is(again, folder);
    assert.is(heard.length, 1);
  }
  rmSync(cacheOf('small/model'), { recursive: true });
  await fails(resolveModel('small/model'), 'ERR_PRL_HTTP', 'does not answer as the hub does');
});
offline('no network and an empty cache is ERR_PRL_OFFLINE', async () => {
  await hub.close();
  await fails(resolveModel('small/model'), 'ERR_PRL_OFFLINE', 'cannot reach 127.0.0.1', 'ECONNREFUSED');
});
offline('a snapshot of another client is used once all its weights are there', async () => {
  const snapshot = join(cacheOf('large/sharded'), 'snapshots', COMMIT);
  mkdirSync(snapshot, { recursive: true });
  mkdirSync(join(cacheOf('large/sharded'), 'refs'));
  writeFileSync(join(cacheOf('large/sharded'), 'refs', 'main'), COMMIT);
  writeFileSync(join(snapshot, 'config.json'), '{}');
  process.env.HF_HUB_OFFLINE = 'yes';
  await fails(resolveModel('large/sharded'), 'ERR_PRL_NOT_FOUND', 'model.safetensors', 'the cache has config.json');
  writeFileSync(join(snapshot, 'model.safetensors.index.json'), INDEX);
  const [first, second] = Object.keys(SHARDS);
  writeFileSync(join(snapshot, first), 'x');
  await fails(resolveModel('large/sharded'), 'ERR_PRL_OFFLINE', second);
  writeFileSync(join(snapshot, second), 'x');
  assert.is(await resolveModel('large/sharded'), snapshot);
  assert.is(hub.seen.length, 0);
});
offline.run();

const processes = begin('hub: several processes');
const client = (id: string) =>
  spawn(
    process.execPath,
    [...process.execArgv, fileURLToPath(new URL('../fakes/hub-client.ts', import.meta.url)), id],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
async function output(child: ChildProcess): Promise<string> {
  let text = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk) => (text += chunk));
  await once(child, 'close');
  return text;
}
/** The weights come slowly. */
function slow(ms: number): void {
  hub.intercept = ({ host, range }, response) => {
    if (host !== 'cdn') return false;
    const from = Number(/\d+/.exec(range ?? '0'));
    const head = { 'content-length': W.length - from, 'content-range': `bytes ${from}-${W.length - 1}/${W.length}` };
    response.writeHead(range ? 206 : 200, head);
    let at = from;
    const timer = setInterval(() => {
      response.write(W.subarray(at, (at += W.length / 30)));
      if (at >= W.length) response.end();
    }, ms / 30);
    response.on('close', () => clearInterval(timer));
    return true;
  };
}
processes('the next process resumes what a killed one had downloaded', async () => {
  slow(3000);
  const child = client('small/model');
  child.stdout!.on('data', (chunk) => /bytes [1-9]/.test(String(chunk)) && child.kill('SIGKILL'));
  await once(child, 'close');
  assert.is(child.signalCode, 'SIGKILL');
  const seen = files('cdn').length;
  const [folder, heard] = await warnings(() => resolveModel('small/model'));
  assert.equal(heard, [], 'the lock of a process that is gone holds nobody up');
  assert.equal(read(join(folder, 'model.safetensors')), W);
  const range = files('cdn')[seen].range!;
  assert.match(range, /^bytes=\d+-$/);
  assert.ok(Number(/\d+/.exec(range)) >= W.length / 10, range);
  assert.is(files('cdn').length, seen + 1);
});
processes('of two processes one downloads, and both get the model', async () => {
  slow(1500);
  const child = client('small/model');
  const out = output(child);
  await once(child.stdout!, 'data');
  const [folder, heard] = await warnings(() => resolveModel('small/model'));
  assert.equal(read(join(folder, 'model.safetensors')), W);
  assert.is(heard.length, 1);
  assert.match(heard[0], /waiting for the model small\/model/);
  assert.match(await out, `folder ${folder}`);
  assert.is(files('cdn').length, 1, 'the weights came once');
  assert.equal(readdirSync(join(home, 'hub', '.locks', 'models--small--model')), []);
});
processes.run();
