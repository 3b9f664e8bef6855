/**
 * Every random number outside the policy's own sampler comes from a stream named by its keys (the run's seed, its
 * purpose, the step ...), never from a long-lived generator. So a resumed run draws what an uninterrupted one would
 * have drawn.
 */
export type Random = () => number;

/** 128 bits that depend on every key. */
function hash(keys: readonly (string | number)[]): Uint32Array {
  const text = keys.join('\u0000');
  const state = new Uint32Array([0x9e3779b9, 0x243f6a88, 0xb7e15162, 0x6a09e667]);
  const primes = [597399067, 2869860233, 951274213, 2716044179];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    for (let j = 0; j < 4; j++) state[j] = Math.imul(state[j] ^ state[(j + 1) & 3] ^ code, primes[j]);
  }
  for (let round = 0; round < 3; round++)
    for (let j = 0; j < 4; j++) {
      state[j] = Math.imul(state[j] ^ (state[(j + 3) & 3] >>> 15), primes[j]);
      state[j] ^= state[j] >>> 13;
    }
  return state;
}

/** Uniform numbers in [0, 1) with 32 random bits (Doty-Humphrey's sfc32), the same for the same keys. */
export function randomStream(...keys: (string | number)[]): Random {
  let [a, b, c, d] = hash(keys);
  return () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 2 ** 32;
  };
}

/** A 32-bit seed for the policy's sampler. */
export const seedOf = (...keys: (string | number)[]): number => hash(keys)[0];

/** An integer in [low, high]. */
export const randomInteger = (random: Random, low: number, high: number): number =>
  low + Math.floor(random() * (high - low + 1));

/** The numbers 0 .. n-1 in random order (Fisher-Yates). */
export function permutation(n: number, random: Random): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = randomInteger(random, 0, i);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** A key of `weights` with probability proportional to its value. */
export function weightedChoice<K>(weights: readonly (readonly [K, number])[], random: Random): K {
  let rest = random() * weights.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [key, weight] of weights) if ((rest -= weight) < 0) return key;
  return weights[weights.length - 1][0];
}
