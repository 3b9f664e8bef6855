// The fuzz as a program: it may crash, which is what it looks for.
//
//   node --expose-gc --import tsx test/fuzz/main.ts [--calls N] [--seed N] [--only CALL] [--all] [--trace FILE] [--targets PATTERN] [--workers N] [--messages]
//
// It ends by itself, never by process.exit: a leak checker then sees what is left.
import { openSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { native } from '../../lib/kernels/native.js';
import { addonTargets, refuseWrongErrorClass } from './addon-targets.js';
import { fuzz } from './fuzz.js';
import { disturb } from './policy-calls.js';
import { publicTargets } from './public-targets.js';
import { killWorkers } from './workers.js';

const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '4000' },
    seed: { type: 'string', default: process.env.PRL_FUZZ_SEED ?? '1' },
    only: { type: 'string' },
    all: { type: 'boolean' },
    trace: { type: 'string' },
    targets: { type: 'string', default: '' },
    workers: { type: 'string', default: '4' },
    messages: { type: 'boolean' },
  },
});
const seed = Number(values.seed);
const device = process.env.PRL_TEST_DEVICE === 'cuda' ? 'cuda' : 'cpu';
process.on('unhandledRejection', (error) => {
  console.error('a promise was rejected that nobody saw', error);
  process.exitCode = 1;
});

const { targets: bare, close } = addonTargets(device);
// Public functions take tensors of either device alike: the CPU's say all about how they read arguments.
const targets = device === 'cpu' ? [...bare, ...publicTargets()] : bare;
refuseWrongErrorClass();
/** On the GPU what kernels found wrong comes with the next synchronize. */
async function settle() {
  await new Promise((resolve) => setImmediate(resolve));
  if (device === 'cuda')
    await native()
      .cudaSynchronize({})
      .catch(() => {});
}
try {
  const start = performance.now();
  const workers = killWorkers(values.only === undefined ? Number(values.workers) : 0, seed);
  const report = await fuzz({
    targets: targets.filter(({ name }) => new RegExp(values.targets!).test(name)),
    seed,
    calls: Number(values.calls),
    only: values.only === undefined ? undefined : Number(values.only),
    all: values.all,
    device,
    disturb,
    settle,
    refused: values.messages
      ? (what, error) => console.log(`${what}\n    ${(error as { code?: string }).code} ${(error as Error).message}`)
      : undefined,
    trace: values.trace === undefined ? undefined : openSync(values.trace, 'w'),
  });
  await workers;
  const { calls, accepted, refused, known } = report;
  for (const [name, counts] of report.perTarget) if (process.env.PRL_FUZZ_VERBOSE) console.log(name.padEnd(28), counts);
  console.log(
    `fuzz: ${calls} calls of ${targets.length} functions with seed ${seed}: ${accepted} accepted, ${refused} refused with a typed error, ${known} known answers right; ${values.workers} workers died in mid-call; ${((performance.now() - start) / 1000).toFixed(1)} s`,
  );
} catch (error) {
  const failures = error instanceof AggregateError ? error.errors : [error];
  for (const failure of failures.slice(0, 50))
    console.error(`fuzz: seed ${seed}, ${failure.message}\n`, failure.cause ?? failure);
  process.exitCode = 1;
} finally {
  close();
}
