import { seedOf } from '../../base/random.js';
import { NotUnderstood } from './expression.js';
import type { Field } from './field.js';

/**
 * A Mersenne prime. Two different rational functions agree at a random point with a probability of about degree / 2^61.
 */
export const MODULUS = (1n << 61n) - 1n;

const mod = (a: bigint) => {
  const rest = a % MODULUS;
  return rest < 0n ? rest + MODULUS : rest;
};

function power(a: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let base = a, k = exponent; k > 0n; k >>= 1n) {
    if (k & 1n) result = (result * base) % MODULUS;
    base = (base * base) % MODULUS;
  }
  return result;
}

function inverse(a: bigint): bigint {
  if (a === 0n) throw new NotUnderstood('division by zero');
  return power(a, MODULUS - 2n);
}

/** Residues modulo 2^61 - 1, for rational functions. The value of a symbol depends on its name and on `point`. */
export const modularField = (point: number): Field<bigint> => ({
  number: ({ s, n, d }) => mod(s * n * (d === 1n ? 1n : inverse(mod(d)))),
  symbol(name) {
    if (CONSTANTS.has(name)) throw new NotUnderstood(`${name} is not rational`);
    return mod((BigInt(seedOf(name, point, 'high')) << 32n) | BigInt(seedOf(name, point, 'low')));
  },
  add: (a, b) => mod(a + b),
  negate: (a) => mod(-a),
  multiply: (a, b) => (a * b) % MODULUS,
  divide: (a, b) => (a * inverse(b)) % MODULUS,
  power: (a, exponent) => power(exponent < 0 ? inverse(a) : a, BigInt(Math.abs(exponent))),
  call(name) {
    throw new NotUnderstood(`${name} is no rational function`);
  },
});

/** Names that mean a number. */
export const CONSTANTS: ReadonlySet<string> = new Set([
  'i',
  'e',
  'Pi',
  'PositiveInfinity',
  'NegativeInfinity',
  'ComplexInfinity',
]);
