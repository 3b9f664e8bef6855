// Datasets of the hub: which files of a repository belong to a split, and their download.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadDataset, PrlError } from '../../../lib/index.js';
import { chooseFiles, type SourceOptions } from '../../../lib/tasks/data/source.js';
import { type FakeHub, fakeHub } from '../../fakes/hub.js';
import { rejectsWith } from '../../policy/rejects.js';
import { throwsError } from '../../reference/numbers.js';

const choice = suite('chooseFiles');
const choose = (paths: string[], options: SourceOptions = {}) => chooseFiles(paths, 'a/b', options);

choice('chooseFiles picks the files of a split in the usual repository layouts', () => {
  const shards = ['data/train-00000-of-00002.parquet', 'data/train-00001-of-00002.parquet'];
  assert.equal(choose(['README.md', ...shards.toReversed(), 'data/test-00000-of-00001.parquet']), shards);
  const configs = ['main', 'socratic'].flatMap((c) => ['train', 'test'].map((s) => `${c}/${s}-00000-of-00001.parquet`));
  assert.equal(choose(configs, { config: 'main' }), ['main/train-00000-of-00001.parquet']);
  assert.equal(choose(configs, { config: 'socratic', split: 'test' }), ['socratic/test-00000-of-00001.parquet']);
  assert.equal(choose(['default/train/0000.parquet', 'default/train/0001.parquet', 'default/test/0000.parquet']), [
    'default/train/0000.parquet',
    'default/train/0001.parquet',
  ]);
  assert.equal(choose(['train.jsonl', 'test.jsonl', 'dataset_infos.json', '.cache/train.jsonl']), ['train.jsonl']);
  assert.equal(choose(['problems.csv', 'README.md']), ['problems.csv'], 'the only one');
  assert.equal(choose(['test.jsonl']), ['test.jsonl'], 'the only one, when no split is asked for');
  assert.equal(choose(['gsm8k_train.jsonl', 'gsm8k_test.jsonl'], { split: 'test' }), ['gsm8k_test.jsonl']);
});

choice('files of several datasets, or none, are an error that lists them', () => {
  const both = ['main/train.jsonl', 'socratic/train.jsonl'];
  throwsError(
    () => choose(both),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /several.*main\/train.jsonl, socratic\/train.jsonl.*config/,
  );
  throwsError(() => choose(['train.jsonl', 'train.csv']), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /several/);
  throwsError(
    () => choose(['test.jsonl'], { split: 'train' }),
    PrlError,
    'ERR_PRL_NOT_FOUND',
    /split 'train'.*test.jsonl/,
  );
  throwsError(() => choose(both, { config: 'maim' }), PrlError, 'ERR_PRL_NOT_FOUND', /config 'maim'/);
  throwsError(() => choose(['README.md']), PrlError, 'ERR_PRL_NOT_FOUND', /data files are none/);
});
choice.run();

const datasets = suite('loadDataset from the hub');
const VARIABLES = ['HF_ENDPOINT', 'HF_HOME', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE', 'HF_TOKEN'];
let hub: FakeHub;
let home: string;
let before: NodeJS.ProcessEnv;
datasets.before(async () => {
  const shard = (problems: string[]) =>
    new Uint8Array(
      parquetWriteBuffer({
        columnData: [
          { name: 'question', data: problems, type: 'STRING' },
          { name: 'answer', data: problems.map((_, i) => `work\n#### ${i}`), type: 'STRING' },
        ],
      }),
    );
  hub = await fakeHub({
    'open/math': {
      type: 'dataset',
      files: {
        'README.md': 'x',
        'main/train-00000-of-00002.parquet': shard(['a', 'b']),
        'main/train-00001-of-00002.parquet': shard(['c']),
        'main/test-00000-of-00001.parquet': shard(['d']),
      },
      refs: ['v1'],
    },
  });
  home = mkdtempSync(join(tmpdir(), 'prl-data-hub-'));
  before = { ...process.env };
  for (const name of VARIABLES) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: hub.url, HF_HOME: home });
});
datasets.after(async () => {
  for (const name of VARIABLES) delete process.env[name];
  Object.assign(process.env, before);
  await hub.close();
  rmSync(home, { recursive: true });
});

datasets('loadDataset downloads only the files of the split, and only once', async () => {
  const seen: number[] = [];
  const { problems, name } = await loadDataset('open/math', { onDownload: ({ bytes }) => seen.push(bytes) });
  assert.equal(problems, [
    { prompt: 'a', answer: '0' },
    { prompt: 'b', answer: '1' },
    { prompt: 'c', answer: '0' },
  ]);
  assert.is(name, 'open/math');
  assert.ok(seen.length > 0);
  assert.not.ok(hub.seen.some(({ url }) => url.includes('test-00000')));
  process.env.HF_HUB_OFFLINE = '1';
  try {
    assert.is((await loadDataset('open/math@main')).problems.length, 3, 'from the cache');
  } finally {
    delete process.env.HF_HUB_OFFLINE;
  }
  assert.is((await loadDataset('open/math@v1', { split: 'test' })).problems[0].prompt, 'd');
  await rejectsWith(loadDataset('open/none'), PrlError, 'ERR_PRL_ACCESS', /open\/none/);
  await rejectsWith(loadDataset('open/math', { split: 'dev' }), PrlError, 'ERR_PRL_NOT_FOUND', /main\/train-00000/);
  await rejectsWith(
    loadDataset('no/such/file.jsonl'),
    PrlError,
    'ERR_PRL_NOT_FOUND',
    /no file or folder no\/such\/file.jsonl/,
  );
});

datasets.run();
