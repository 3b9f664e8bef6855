// verifyMath in its threads: from the sources and compiled, with deadlines, and without keeping the process alive.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { verifyMath } from '../../../lib/index.js';
import { Pool } from '../../../lib/tasks/verify/pool.js';
import { rejectsWith } from '../../policy/rejects.js';
import { CASES } from './cases.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const module = new URL('../../fakes/pool-worker', import.meta.url);
const newPool = (threads: number) => new Pool<string, string>({ module, deadline: 300, threads });

const pool = suite('pool');
pool('starts threads when there is work, no more than there may be', async () => {
  const two = newPool(2);
  assert.is(two.size, 0);
  const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => two.ask(String(i))));
  answers.forEach((answer, i) => {
    assert.match(answer!, new RegExp(`^${i} by `));
  });
  assert.ok(two.size >= 1 && two.size <= 2, `${two.size} threads`);
  assert.ok(new Set(answers.map((answer) => answer!.split(' ')[2])).size <= 2);
});
pool('one that overruns is replaced, and the others are answered', async () => {
  const two = newPool(2);
  const questions = ['a', 'hang', 'b', 'c', 'hang', 'd', 'hang', 'e', 'f'];
  const answers = await Promise.all(questions.map((question) => two.ask(question)));
  assert.equal(
    answers.map((answer) => answer?.split(' ')[0]),
    questions.map((question) => (question === 'hang' ? undefined : question)),
  );
  assert.match((await two.ask('after'))!, /^after/);
});
pool('an answer that came while the event loop stood still is not late', async () => {
  const one = newPool(1);
  await one.ask('start');
  const answer = one.ask('x');
  const until = performance.now() + 700;
  while (performance.now() < until);
  assert.match((await answer)!, /^x by/);
});
pool('time that a thread was not given does not count', async () => {
  if (process.platform !== 'linux') return;
  const one = newPool(1);
  assert.match((await one.ask('wait'))!, /^wait by/);
});
pool('a thread that runs out of memory is one that overruns', async () => {
  const one = new Pool<string, string>({ module, deadline: 60_000, threads: 1 });
  assert.is(await one.ask('memory'), undefined);
  assert.match((await one.ask('after'))!, /^after/);
});
pool('a thread that throws is an error for its question alone', async () => {
  const one = newPool(1);
  const [failed, next] = await Promise.allSettled([one.ask('throw'), one.ask('next')]);
  assert.is(failed.status, 'rejected');
  assert.is((failed as PromiseRejectedResult).reason.code, 'ERR_PRL_INTERNAL');
  assert.match((failed as PromiseRejectedResult).reason.message, /thrown by the worker/);
  assert.is(next.status, 'fulfilled');
});
pool('a module that cannot be loaded fails every question', async () => {
  const none = new Pool({ module: new URL('./no-such-worker', import.meta.url), deadline: 300, threads: 2 });
  const all = await Promise.allSettled([none.ask('a'), none.ask('b'), none.ask('c')]);
  for (const outcome of all) assert.is((outcome as PromiseRejectedResult).reason?.code, 'ERR_PRL_INTERNAL');
});
pool.run();

const math = suite('verifyMath');
math('judges as the core does, all at once', async () => {
  const pairs = Object.values(CASES).flatMap(({ accept, reject }) => [
    ...accept.map((pair) => [...pair, true] as const),
    ...reject.map((pair) => [...pair, false] as const),
  ]);
  const verdicts = await Promise.all(pairs.map(([gold, answer]) => verifyMath(`so \\boxed{${answer}}.`, gold)));
  verdicts.forEach(({ correct, reason }, i) => {
    const [gold, answer, expected] = pairs[i];
    assert.is(correct, expected, `'${answer}' for '${gold}': ${reason}`);
  });
});
math('long responses: the end is looked at, thinking is not', async () => {
  const filler = 'word '.repeat(200_000);
  assert.equal(await verifyMath(`${filler}\\boxed{5}`, '5'), { correct: true, reason: 'equal', extracted: '5' });
  assert.is((await verifyMath(`\\boxed{5}${filler}`, '5')).reason, 'noAnswer');
  assert.is((await verifyMath(`<think>${filler}\\boxed{5}`, '5')).reason, 'noAnswer');
  assert.ok((await verifyMath(`<think>${filler}</think>${filler}\\boxed{5}`, '5')).correct);
  assert.not((await verifyMath('\\boxed{5}', '5'.repeat(100_000))).correct);
});
math('what is no string, and options that do not exist', async () => {
  await rejectsWith(
    verifyMath(5 as never, '5'),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /response must be a string, not the number/,
  );
  await rejectsWith(
    verifyMath('5', null as never),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /gold must be a string, not null/,
  );
  await rejectsWith(
    verifyMath('5', '5', { extract: 'any' } as never),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /'extraction'/,
  );
  await rejectsWith(
    verifyMath('5', '5', { extraction: 'last' as never }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /'boxed', 'any'/,
  );
  assert.ok((await verifyMath('the answer is 5', '5', { extraction: 'any' })).correct);
});

/** Runs a program in a process of its own: it must print what is expected, and end. */
function ends(command: string[], expected: RegExp): void {
  const run = spawnSync(process.execPath, command, { cwd: root, encoding: 'utf8', timeout: 60_000 });
  assert.is(run.status, 0, run.stderr);
  assert.match(run.stdout, expected);
}
const program = (entry: string) => `
  import { verifyMath } from '${new URL(entry, import.meta.url).href}';
  const verdicts = await Promise.all(['0.5', '2'].map((gold) => verifyMath('\\\\boxed{\\\\frac12}', gold)));
  console.log(verdicts.map(({ correct }) => correct).join());
`;
math('from the sources: idle threads let the process end', () => {
  const tsx = join(root, 'node_modules', 'tsx', 'dist', 'cli.mjs');
  ends([tsx, '--input-type=module', '--eval', program('../../../lib/tasks/verify/index.ts')], /^true,false\n$/);
});
math('compiled: under plain node', () => {
  const folder = mkdtempSync(join(root, 'build', 'verify-'));
  try {
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        extends: '../../tsconfig.json',
        compilerOptions: { noEmit: false, rootDir: '../..', outDir: '.' },
        include: ['../../lib/tasks/verify'],
      }),
    );
    ends([join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', folder], /^$/);
    const entry = join(folder, 'lib', 'tasks', 'verify', 'index.js');
    ends(['--input-type=module', '--eval', program(entry)], /^true,false\n$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
math.run();
