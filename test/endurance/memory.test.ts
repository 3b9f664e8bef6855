// Memory stays flat over thousands of calls and hundreds of steps, and policies that nobody holds are collected.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const child = fileURLToPath(new URL('memory-child.ts', import.meta.url));
const { FORCE_COLOR: _, NO_COLOR: __, ...env } = process.env;
function run<R>(work: string): R[] {
  // The allocator gives back what is freed, and keeps nothing in spare arenas: what is left is what is in use.
  const allocator = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '8192', MALLOC_TRIM_THRESHOLD_: '65536' };
  const options = { encoding: 'utf8', env: { ...env, ...allocator }, maxBuffer: 1 << 26 } as const;
  // V8 doubles its nurseries when it likes to, by megabytes: they stay as small as they begin.
  const node = ['--max-semi-space-size=1', '--expose-gc', ...process.execArgv];
  const text = execFileSync(process.execPath, [...node, child, work], options);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

interface Usage {
  native: number;
  heap: number;
  external: number;
}

/**
 * Growth per measurement: the median of the slopes between all pairs of the later half, which no single spike moves.
 */
function slope(values: readonly number[]): number {
  const later = values.slice(Math.floor(values.length / 2));
  const slopes = later.flatMap((a, i) => later.slice(i + 1).map((b, j) => (b - a) / (j + 1)));
  return slopes.sort((a, b) => a - b)[Math.floor(slopes.length / 2)];
}

const test = suite('memory over time');
// Growth between two measurements, 1000 rounds of calls or 20 steps: code that gets warm takes some, and V8's pages.
for (const [work, what, limits] of [
  ['kernels', '10,000 rounds of kernel calls, a third of which fail', { native: 250e3, heap: 50e3, external: 4e3 }],
  ['training', '200 steps of training, with evaluations', { native: 400e3, heap: 80e3, external: 4e3 }],
] as const) {
  test(`${what} keep a flat footprint`, () => {
    const usage = run<Usage>(work);
    assert.is(usage.length, 10);
    for (const name of ['native', 'heap', 'external'] as const) {
      const growth = slope(usage.map((each) => each[name]));
      assert.ok(growth < limits[name], `${name} grows by ${growth} bytes: ${usage.map((each) => each[name])}`);
    }
  });
}

test('the garbage collector learns how much memory a policy holds', () => {
  const [{ bytes, made, trained, reset, cloned, after }] = run<{ [name: string]: number }>('accounting');
  const near = (value: number, arenas: number) =>
    assert.ok(Math.abs(value - arenas * bytes) < 1e5, `${value} of ${arenas} x ${bytes}`);
  near(made, 1);
  // Weights, gradients and two moments, and what a batch took.
  assert.ok(trained > 4 * bytes, `${trained} of 4 x ${bytes}`);
  near(trained - reset, 2);
  near(cloned - reset, 1);
  near(after, 0);
  // With what JavaScript itself has let go of meanwhile.
  assert.ok(run<{ after: number }>('forgotten').at(-1)!.after < 1e5);
});

test('policies that nobody holds are collected before they fill the memory', () => {
  const usage = run<Usage>('policies');
  const bytes = 12.5e6; // the weights of one
  const most = Math.max(...usage.map(({ native }) => native)) - usage[0].native;
  assert.ok(most < 20 * bytes, `of ${usage.length} policies ${most / bytes} were in memory at once`);
});
test.run();
