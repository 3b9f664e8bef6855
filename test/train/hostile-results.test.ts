// Result files of runs and comparisons, changed one value at a time: a reader says what is wrong or ignores it, and
// never crashes.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { trainCommand } from '../../lib/cli/commands/train.js';
import { type CompareRequest, planJobs, readRequest } from '../../lib/cli/compare/plan.js';
import { readComparison } from '../../lib/cli/compare/write.js';
import { type Command, parseOptions } from '../../lib/cli/kit/args.js';
import { reportPage } from '../../lib/cli/report/page.js';
import { readReport } from '../../lib/cli/report/report.js';
import { saveArithmeticModel } from '../fakes/prl.js';
import { TINY } from '../fakes/prl-train.js';

const root = mkdtempSync(join(tmpdir(), 'prl-results-'));
const at = (...path: string[]) => join(root, ...path);
const STRANGE = ['null', '7', '1e999', '"x"', '[]', '{"toString": 1, "__proto__": {"polluted": 1}}', 'absent'];
const DEEP = ['[', ']', '{"a":', '}'].map((part) => part.repeat(20_000));

/** A text of JSON with each of its values replaced by something strange, or left out: by one thing each, in turn. */
function* changed(text: string): Generator<string> {
  const whole = JSON.parse(text);
  let turn = 0;
  const visit = function* (node: Record<string, unknown>): Generator<string> {
    // Lists are of one kind: the first value stands for all.
    for (const key of Array.isArray(node) ? Object.keys(node).slice(0, 1) : Object.keys(node)) {
      const before = node[key];
      const strange = STRANGE[turn++ % STRANGE.length];
      if (strange === 'absent') delete node[key];
      else node[key] = '@@';
      yield JSON.stringify(whole).replace('"@@"', strange);
      node[key] = before;
      if (before !== null && typeof before === 'object') yield* visit(before as Record<string, unknown>);
    }
  };
  yield* visit(whole);
  yield `{"deep": ${DEEP[0]}${DEEP[1]}, ${text.slice(1)}`;
  yield `{"deep": ${DEEP[2]}1${DEEP[3]}, ${text.slice(1)}`;
  for (const length of [0, 1, text.length >> 1, text.length - 2]) yield text.slice(0, length);
}

/** How many of the changed texts were refused; each refusal must be one of ours. */
async function refused(file: string, lines: boolean, read: () => Promise<unknown>, every = 1): Promise<number> {
  const text = readFileSync(file, 'utf8');
  const [first, ...others] = lines ? text.split('\n') : [text];
  let count = 0;
  let turn = 0;
  try {
    for (const change of changed(first)) {
      if (turn++ % every !== 0) continue;
      writeFileSync(file, [change, ...others].join('\n'));
      await read().catch((error) => {
        assert.match(String(error.code), /^ERR_PRL_/, `${error.stack}\nof ${change.slice(0, 2000)}`);
        assert.ok(error.message.length < 2000, error.message);
        count++;
      });
    }
  } finally {
    writeFileSync(file, text);
  }
  assert.is(({} as { polluted?: number }).polluted, undefined);
  return count;
}

async function quietly<R>(work: () => Promise<R>): Promise<R> {
  const { log, warn, error } = console;
  console.log = console.warn = console.error = () => {};
  try {
    return await work();
  } finally {
    Object.assign(console, { log, warn, error });
  }
}
const run = (command: Command, args: string[]) => quietly(async () => command.run(parseOptions(command, args)));

const test = suite('results that were tampered with');
test.before(async () => {
  await saveArithmeticModel(at('model'));
  const small = [...TINY, '--eval-problems', '2', '--max-steps', '2', '--prompts-per-step', '2'];
  await run(trainCommand, ['--model', at('model'), '--output', at('run'), ...small]);
});
test.after(() => {
  for (const signal of ['SIGINT', 'SIGTERM']) process.removeAllListeners(signal);
  rmSync(root, { recursive: true });
});

for (const name of [
  'config.json',
  'metrics.jsonl',
  'samples.jsonl',
  'evaluation-before.json',
  'evaluation-after.json',
]) {
  test(`prl report refuses a changed ${name} or reads it, and never crashes`, async () => {
    const read = async () => reportPage(await readReport([at('run')]));
    await read();
    const count = await refused(at('run', name), name.endsWith('jsonl'), read);
    assert.ok(count > 0);
  });
}

for (const name of ['config.json', 'evaluation-before.json', 'evaluation-after.json', 'warm-start.json']) {
  test(`prl train --resume refuses a changed ${name} or reads it, and never crashes`, async () => {
    if (name === 'warm-start.json') writeFileSync(at('run', name), '{"steps": 1, "seconds": 2}');
    rmSync(at('again'), { recursive: true, force: true });
    cpSync(at('run'), at('again'), { recursive: true });
    const resume = async () => {
      process.removeAllListeners('SIGINT');
      process.removeAllListeners('SIGTERM');
      await run(trainCommand, ['--resume', '--output', at('again')]);
    };
    await resume();
    assert.ok((await refused(at('again', name), false, resume, 4)) > 0);
  });
}

test('a changed request or result of a comparison is refused or read, and never crashes', async () => {
  const request: CompareRequest = {
    ...{ preset: 'smoke', methods: 'grpo,raft', seeds: 1, firstSeed: 0, settings: [], trainer: {}, prmProblems: 2 },
  };
  const folder = at('compare');
  const level = JSON.parse(readFileSync(at('run', 'evaluation-after.json'), 'utf8')).trained;
  const { records: _, ...figures } = { ...level, entropy: 1, kl: 0.1 };
  const result = { seed: 0, levels: [figures, figures], seconds: 1 };
  const jobs = planJobs(folder, request);
  for (const job of jobs) {
    cpSync(at('run'), job.folder, { recursive: true });
    const cell = { ...result, options: {}, seconds: { training: 1, prm: 0 }, tokens: { policy: 5, prm: 0 } };
    const arm = 'arm' in job ? job.arm : undefined;
    writeFileSync(join(job.folder, `${job.kind}.json`), JSON.stringify(arm ? { arm, ...cell } : result));
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ compare: request }));
  const read = async () => {
    const known = await readRequest(folder);
    if (known) await readComparison(folder, known);
  };
  await read();
  const files = [join(folder, 'config.json'), ...jobs.map((job) => join(job.folder, `${job.kind}.json`))];
  for (const file of files) assert.ok((await refused(file, false, read)) > 0, file);
});
test.run();
