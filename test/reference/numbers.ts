// Helpers of the tests: a seeded generator and comparisons that a NaN fails.
import * as assert from 'uvu/assert';

/** A small seeded generator of uniform numbers in [0, 1) (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers. */
export function normals(n: number, seed: number, scale = 1): Float32Array {
  const next = random(seed);
  return Float32Array.from(
    { length: n },
    () => scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** Every element within `tolerance` + `relative` * |expected|; equal infinities pass, a NaN fails. */
export function near(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what = 'value',
  relative = 0,
): void {
  assert.is(actual.length, expected.length, `${what}: length`);
  let worst = -1;
  let where = -1;
  for (let i = 0; i < actual.length; i++) {
    if (actual[i] === expected[i]) continue;
    const excess = Math.abs(actual[i] - expected[i]) - relative * Math.abs(expected[i]);
    if (!(excess <= tolerance) && !(worst >= excess)) {
      worst = excess;
      where = i;
    }
  }
  if (where >= 0) {
    assert.unreachable(
      `${what}[${where}]: ${actual[where]} is not ${expected[where]} (tolerance ${tolerance} + ${relative} relative)`,
    );
  }
}

/** Like assert.throws, for the class and the code of an error and a part of its message. */
export function throwsError(
  run: () => unknown,
  kind: new (...args: never[]) => Error,
  code: string,
  message: RegExp,
): void {
  try {
    run();
  } catch (error) {
    assert.instance(error, kind);
    assert.is((error as { code?: string }).code, code, `code of: ${(error as Error).message}`);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`expected an error ${code} ${message}`);
}

/** Half the distance between neighbours of 1 in each storage type: the relative error of one rounding. */
export const UNIT_ROUNDOFF = { float32: 2 ** -24, bfloat16: 2 ** -8, float16: 2 ** -11 } as const;
