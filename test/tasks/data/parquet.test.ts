// The values of Parquet files, against pyarrow (test/fixtures/parquet/make.py).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadDataset } from '../../../lib/index.js';
import { readRows } from '../../../lib/tasks/data/rows.js';
import { rejectsWith } from '../../policy/rejects.js';

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/parquet/${name}`, import.meta.url));
const expected = JSON.parse(readFileSync(fixture('expected.json'), 'utf8'));

const parquet = suite('Parquet values');
const rowsOf = async (name: string) => {
  const rows: Record<string, unknown>[] = [];
  for await (const item of readRows({ path: fixture(name), format: 'parquet' }, () => undefined)) {
    if ('error' in item) throw item.error;
    rows.push(item.row);
  }
  return rows;
};
/** Integers as text, as in expected.json. */
const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each)));
const SMALL_INTEGERS = ['u32', 'u8', 'i8'];

for (const name of ['values.parquet', 'values-integer.parquet'])
  parquet(`${name}: decimals, integers, floats and text have the values of pyarrow`, async () => {
    const rows = await rowsOf(name);
    assert.is(rows.length, expected.length);
    for (const [i, row] of rows.entries())
      for (const [column, value] of Object.entries(expected[i])) {
        const own = plain(row[column] ?? null);
        const shown = SMALL_INTEGERS.includes(column) && own !== null ? String(own) : own;
        assert.equal(shown, value, `row ${i + 1}, ${column}`);
      }
  });
parquet('the gold answer of a decimal column has all its digits', async () => {
  const answers = async (answerField: string) => {
    const options = { promptField: 'uuid', answerField, onInvalid: 'drop' } as const;
    return (await loadDataset(fixture('values.parquet'), options)).problems.map(({ answer }) => answer);
  };
  assert.equal(await answers('d9'), ['0.05', '-1234567.89', '58459.20', '0.00']);
  assert.equal(await answers('decimals.0'), ['0.05', '-0.01', '0.00']);
  assert.equal(await answers('struct.gold'), ['1.500', '-0.001', '0.000']);
  assert.equal(await answers('f16'), ['0.1', '-6e-8', '65504', '0.333', '2']);
  // Row 1 has a JSON number of 19 digits.
  assert.equal(await answers('json.gold'), ['0.1']);
});
parquet('text that is not UTF-8 is refused with file, row and column', async () => {
  await rejectsWith(
    loadDataset(fixture('invalid.parquet')),
    Error,
    'ERR_PRL_CORRUPT',
    /invalid\.parquet row 2: column 'answer' is not UTF-8/,
  );
  await rejectsWith(
    loadDataset(fixture('invalid.parquet'), { answerField: 'parts' }),
    Error,
    'ERR_PRL_CORRUPT',
    /invalid\.parquet row 3: column 'parts' is not UTF-8/,
  );
  const { problems, report } = await loadDataset(fixture('invalid.parquet'), { onInvalid: 'drop' });
  assert.equal(
    problems.map(({ answer }) => answer),
    ['1', '3', '4'],
  );
  assert.is(report.dropped.invalid.count, 1);
});
parquet.run();
