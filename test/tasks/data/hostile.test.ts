// Broken files give an error that names the place, in bounded time and memory.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteFile } from 'hyparquet-writer';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mapConcurrently } from '../../../lib/base/concurrency.js';
import { randomInteger, randomStream } from '../../../lib/base/random.js';
import { loadDataset, PrlError } from '../../../lib/index.js';
import { parquetRows } from '../../../lib/tasks/data/parquet.js';
import { rejectsWith } from '../../policy/rejects.js';

const root = mkdtempSync(join(tmpdir(), 'prl-hostile-'));
let count = 0;
function file(extension: string, ...parts: (string | Uint8Array)[]): string {
  const path = join(root, `${count++}.${extension}`);
  for (const part of parts) appendFileSync(path, part);
  return path;
}
const GOOD = '{"problem": "a", "answer": "1"}\n';

const hostile = suite('loadDataset: hostile files');
hostile.after(() => rmSync(root, { recursive: true, force: true }));

hostile('bytes that are not UTF-8 are ERR_PRL_CORRUPT with the line, and onInvalid drops them', async () => {
  const bytes = Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d, 0x0a);
  await rejectsWith(loadDataset(file('jsonl', GOOD, bytes)), PrlError, 'ERR_PRL_CORRUPT', /\.jsonl:2: .*not UTF-8/);
  await rejectsWith(
    loadDataset(file('csv', 'problem,answer\na,1\n', bytes)),
    PrlError,
    'ERR_PRL_CORRUPT',
    /\.csv:3: .*not UTF-8/,
  );
  await rejectsWith(
    loadDataset(file('json', '[', bytes)),
    PrlError,
    'ERR_PRL_CORRUPT',
    /\.json: it is not JSON: .*utf-8/,
  );
  const { problems } = await loadDataset(file('jsonl', GOOD, bytes), { onInvalid: 'drop' });
  assert.is(problems.length, 1);
});

hostile('an endless line is not kept in memory, and the next line is read', async () => {
  const huge = `{"problem": "${'x'.repeat(5 << 20)}", "answer": "1"}\n`;
  const path = file('jsonl', GOOD, huge, '{"problem": "b", "answer": "2"}\n');
  await rejectsWith(
    loadDataset(path),
    PrlError,
    'ERR_PRL_CORRUPT',
    /:2: the line has 52429\d\d bytes, more than 4194304/,
  );
  const { problems, report } = await loadDataset(path, { onInvalid: 'drop' });
  assert.equal(
    problems.map(({ prompt }) => prompt),
    ['a', 'b'],
  );
  assert.is(report.dropped.invalid.first, `${path}:2`);
  await rejectsWith(
    loadDataset(file('csv', 'problem,answer\n"', 'x,y\n'.repeat(2 << 20))),
    PrlError,
    'ERR_PRL_CORRUPT',
    /\.csv:\d+: /,
  );
});

hostile('field names from files reach no prototype', async () => {
  const row =
    '{"__proto__": {"answer": "7", "polluted": 1}, "constructor": {"prototype": {"polluted": 1}}, "problem": "a"}\n';
  await rejectsWith(
    loadDataset(file('jsonl', row), { answerField: 'toString' }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /no field toString/,
  );
  await rejectsWith(
    loadDataset(file('jsonl', row), { answerField: 'problem.length' }),
    PrlError,
    'ERR_PRL_CORRUPT',
    /'problem.length' is missing/,
  );
  const { problems } = await loadDataset(file('jsonl', row), { answerField: '__proto__.answer' });
  assert.equal(problems, [{ prompt: 'a', answer: '7' }], 'an own property like any other');
  const csv = await loadDataset(file('csv', '__proto__,problem,answer\nx,a,1\n'));
  assert.equal(csv.problems, [{ prompt: 'a', answer: '1' }]);
  assert.is(({} as { polluted?: number }).polluted, undefined);
});

hostile('JSON nested too deeply is ERR_PRL_CORRUPT where it is read, and is ignored elsewhere', async () => {
  const deep = `{"problem": "a", "answer": ${'['.repeat(500_000)}${']'.repeat(500_000)}}\n`;
  await rejectsWith(
    loadDataset(file('jsonl', GOOD, deep)),
    PrlError,
    'ERR_PRL_CORRUPT',
    /:2: .*nests lists too deeply/,
  );
  await rejectsWith(loadDataset(file('json', `[${deep}]`)), PrlError, 'ERR_PRL_CORRUPT', /row 1: .*nests lists/);
  const open = '['.repeat(5_000_000);
  await rejectsWith(loadDataset(file('json', open)), PrlError, 'ERR_PRL_CORRUPT', /not JSON/);
  await rejectsWith(loadDataset(file('jsonl', GOOD, open)), PrlError, 'ERR_PRL_CORRUPT', /:2: the line has/);
  const unread = `{"problem": "b", "answer": "1", "deep": ${'['.repeat(500_000)}${']'.repeat(500_000)}}\n`;
  assert.is((await loadDataset(file('jsonl', GOOD, unread))).problems.length, 2, 'what is not read does not matter');
});

hostile('a file that is truncated, too large or without rows is ERR_PRL_CORRUPT', async () => {
  const whole = '[{"problem": "a", "answer": "1"}, {"problem": "b", "answer": "2"}]';
  for (const length of [0, 1, 20, whole.length - 1])
    await rejectsWith(
      loadDataset(file('json', whole.slice(0, length))),
      PrlError,
      'ERR_PRL_CORRUPT',
      /\.json: it is not JSON/,
    );
  for (const length of [1, 20, GOOD.length - 2])
    await rejectsWith(
      loadDataset(file('jsonl', GOOD, GOOD.slice(0, length))),
      PrlError,
      'ERR_PRL_CORRUPT',
      /\.jsonl:2: it is not JSON/,
    );
  const large = file('json', whole);
  truncateSync(large, 2 ** 32); // a hole: no disk is used
  await rejectsWith(loadDataset(large), PrlError, 'ERR_PRL_CORRUPT', /at most \d+ bytes, not 4294967296/);
  const hole = file('jsonl', GOOD);
  truncateSync(hole, 2 ** 26);
  await rejectsWith(loadDataset(hole), PrlError, 'ERR_PRL_CORRUPT', /\.jsonl:2: the line has \d+ bytes, more than/);
  for (const text of ['{"data": 5}', '{"__proto__": {"data": [{"problem": "a", "answer": "1"}]}}', '"x"', 'null'])
    await rejectsWith(loadDataset(file('json', text)), PrlError, 'ERR_PRL_CORRUPT', /expected an array of rows/);
});

hostile('CSV with missing columns, bad quotes or duplicate headers is ERR_PRL_CORRUPT with the line', async () => {
  const rejects = (text: string, message: RegExp) =>
    rejectsWith(loadDataset(file('csv', text)), PrlError, 'ERR_PRL_CORRUPT', message);
  await rejects('problem,answer\na,1\nb\n', /\.csv:3: there must be 2 columns, as in the first line, not 1/);
  await rejects('problem,answer\na,1\n"b,2\n', /\.csv:\d: /);
  await rejects('problem,answer\na,1\nb"c,2\n', /\.csv:3: /);
  await rejects('problem,problem\na,1\n', /\.csv:1: two columns are named "problem"/);
  await rejects('', /no usable problem: 0 of 0/);
  const { report } = await loadDataset(file('csv', 'problem,answer\na,1\nb\nc,2\n'), { onInvalid: 'drop' });
  assert.is(report.kept, 2);
});

const parquet = join(root, 'good.parquet');
parquetWriteFile({
  filename: parquet,
  columnData: [
    { name: 'problem', data: Array.from({ length: 50 }, (_, i) => `problem ${i}`), type: 'STRING' },
    { name: 'answer', data: Array.from({ length: 50 }, (_, i) => i % 7), type: 'INT32' },
  ],
});

hostile('Parquet that is truncated, empty or has a garbage footer is ERR_PRL_CORRUPT', async () => {
  const bytes = new Uint8Array(readFileSync(parquet));
  assert.is((await loadDataset(parquet)).problems.length, 50);
  const rejects = (contents: Uint8Array) =>
    rejectsWith(loadDataset(file('parquet', contents)), PrlError, 'ERR_PRL_CORRUPT', /\.parquet: /);
  await rejects(new Uint8Array());
  await rejects(new TextEncoder().encode(GOOD));
  for (const length of [4, 11, 100, bytes.length - 1]) await rejects(bytes.slice(0, length));
  const claims = bytes.slice();
  new DataView(claims.buffer).setUint32(bytes.length - 8, 0xfffffff0, true);
  await rejects(claims);
  const garbage = bytes.slice();
  const footer = new DataView(bytes.buffer).getUint32(bytes.length - 8, true);
  garbage.fill(0xff, bytes.length - 8 - footer, bytes.length - 8);
  await rejects(garbage);
  garbage.fill(0x99, bytes.length - 8 - footer, bytes.length - 8);
  await rejects(garbage);
});

hostile('Parquet with a byte changed gives rows or a PrlError that names the file', async () => {
  const bytes = new Uint8Array(readFileSync(parquet));
  const random = randomStream('parquet');
  const outcomes: string[] = [];
  await mapConcurrently(
    Array.from({ length: 10 }, () => [randomInteger(random, 0, bytes.length - 1), randomInteger(random, 0, 255)]),
    4,
    async ([at, value]) => {
      const changed = bytes.slice();
      changed[at] = value;
      const path = file('parquet', changed);
      try {
        for await (const _ of parquetRows(path, () => ['problem', 'answer'], { seconds: 5, megabytes: 256 }));
        outcomes.push('read');
      } catch (error) {
        assert.instance(error, PrlError, String(error));
        assert.match((error as PrlError).message, path);
        outcomes.push('error');
      }
    },
  );
  assert.ok(outcomes.includes('error') && outcomes.includes('read'), outcomes.join());
});

hostile('Parquet that makes the decoder loop or fill memory is stopped at its limit', async () => {
  const bytes = new Uint8Array(readFileSync(parquet));
  // The length of a run of values in the page of answers.
  bytes[351] = 146;
  const path = file('parquet', bytes);
  const rows = parquetRows(path, () => ['problem', 'answer'], { seconds: 3, megabytes: 128 });
  const start = performance.now();
  await rejectsWith(
    rows.next(),
    PrlError,
    'ERR_PRL_CORRUPT',
    /\.parquet: (the next rows took more than 3 s|.*memory limit)/,
  );
  assert.ok(performance.now() - start < 20_000);
});

hostile.run();
