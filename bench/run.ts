// npm run bench [-- --filter NAME] [--runs N] [--threads N] [--json FILE]
import { readdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { setThreads } from '../lib/index.js';
import { nativeInfo } from '../lib/native.js';
import { type Group, type Measurement, measure, printTable } from './harness.js';

const { values } = parseArgs({
  options: {
    filter: { type: 'string', default: '' },
    runs: { type: 'string', default: '21' },
    threads: { type: 'string' },
    json: { type: 'string' },
  },
});
if (values.threads) setThreads(Number(values.threads));

const folder = new URL('.', import.meta.url);
const results: (Measurement & { othersCores: number })[] = [];
for (const file of readdirSync(folder).filter((name) => name.endsWith('.bench.ts'))) {
  const { groups } = (await import(new URL(file, folder).href)) as { groups: Group[] };
  for (const group of groups.filter(({ name }) => name.includes(values.filter ?? ''))) {
    const measured = measure(group, Math.max(20, Number(values.runs)));
    printTable(measured);
    results.push(...measured.measurements.map((m) => ({ ...m, othersCores: measured.othersCores })));
  }
}
if (results.length === 0) {
  console.error(`no benchmark matches --filter ${values.filter}`);
  process.exit(1);
}
if (values.json) writeFileSync(values.json, `${JSON.stringify({ ...nativeInfo(), results }, null, 2)}\n`);
