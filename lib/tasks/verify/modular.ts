import { randomBytes } from 'node:crypto';
import { seedOf } from '../../base/random.js';
import { NotUnderstood } from './expression.js';
import type { Field } from './field.js';

/** Nothing that a response could hold: modulus and points are drawn for each process. */
const SALT = randomBytes(16).toString('hex');

/**
 * A prime of 61 bits. Two different rational functions agree at a random point with a probability of about
 * degree / 2^61.
 */
export const MODULUS = drawPrime();

function drawPrime(): bigint {
  for (;;) {
    const n = (1n << 60n) | (randomBytes(8).readBigUInt64LE() >> 4n) | 1n;
    if (isPrime(n)) return n;
  }
}

/** By Miller and Rabin; these bases decide all numbers below 2^64. */
function isPrime(n: bigint): boolean {
  const bases = [2n, 3n, 5n, 7n, 11n, 13n, 17n, 19n, 23n, 29n, 31n, 37n];
  if (bases.some((base) => n % base === 0n)) return false;
  let [odd, twos] = [n - 1n, 0];
  for (; odd % 2n === 0n; odd /= 2n) twos++;
  return bases.every((base) => {
    let x = power(base, odd, n);
    for (let k = 0; k < twos; k++) {
      if (x === n - 1n || (k === 0 && x === 1n)) return true;
      x = (x * x) % n;
    }
    return false;
  });
}

function power(a: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let base = a, k = exponent; k > 0n; k >>= 1n) {
    if (k & 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return result;
}

const mod = (a: bigint) => {
  const rest = a % MODULUS;
  return rest < 0n ? rest + MODULUS : rest;
};

function inverse(a: bigint): bigint {
  if (a === 0n) throw new NotUnderstood('division by zero');
  return power(a, MODULUS - 2n, MODULUS);
}

/** Residues modulo MODULUS, for rational functions. The value of a symbol depends on its name and on `point`. */
export const modularField = (point: number): Field<bigint> => ({
  number: ({ s, n, d }) => mod(s * n * (d === 1n ? 1n : inverse(mod(d)))),
  symbol(name) {
    if (CONSTANTS.has(name)) throw new NotUnderstood(`${name} is not rational`);
    return mod((BigInt(seedOf(SALT, name, point, 'high')) << 32n) | BigInt(seedOf(SALT, name, point, 'low')));
  },
  add: (a, b) => mod(a + b),
  negate: (a) => mod(-a),
  multiply: (a, b) => (a * b) % MODULUS,
  divide: (a, b) => (a * inverse(b)) % MODULUS,
  power: (a, exponent) => power(exponent < 0 ? inverse(a) : a, BigInt(Math.abs(exponent)), MODULUS),
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
