import { analytic } from './analytic.js';
import { NotUnderstood } from './expression.js';
import type { Field } from './field.js';
import { CONSTANTS } from './modular.js';
import { symbolPoint } from './points.js';

/**
 * Complex numbers of 448 bits. Doubles refute quickly; these confirm: cos(10^{-10}) is 1 in doubles, and e^{-1000} is
 * 0.
 */
const BITS = 448;
/** Bits of the constants, which large arguments are reduced by. */
const CONSTANT_BITS = BITS + 420;

/** m 2^e */
interface Real {
  m: bigint;
  e: number;
}

/** A complex number, and the binary logarithm of a bound of its error; -Infinity: it is exact. */
export interface Precise {
  re: Real;
  im: Real;
  error: number;
}

const ZERO: Real = { m: 0n, e: 0 };
/** The number of bits, or one more. */
function bitLength(m: bigint): number {
  const size = Math.abs(Number(m));
  return Number.isFinite(size) ? Math.floor(Math.log2(size)) + 2 : (m < 0n ? -m : m).toString(16).length * 4;
}
/** Binary logarithm of a bound of its size. */
const sizeOf = ({ m, e }: Real) => (m === 0n ? -Infinity : bitLength(m) + e);
export const magnitude = ({ re, im }: Precise) => Math.max(sizeOf(re), sizeOf(im));

function real(m: bigint, e: number): Real {
  if (m === 0n) return ZERO;
  const excess = bitLength(m) - BITS;
  return excess > 0 ? { m: m >> BigInt(excess), e: e + excess } : { m, e };
}

const integer = (value: bigint): Precise => rounded(real(value, 0), ZERO, -Infinity, bitLength(value) <= BITS);
const negative = ({ m, e }: Real): Real => ({ m: -m, e });
const timesReal = (a: Real, b: Real) => real(a.m * b.m, a.e + b.e);

function addReal(a: Real, b: Real): Real {
  if (a.m === 0n) return b;
  if (b.m === 0n) return a;
  const [high, low] = a.e >= b.e ? [a, b] : [b, a];
  const shift = high.e - low.e;
  // What is lower than the last bit counts as error.
  if (shift > 4 * BITS) return sizeOf(a) > sizeOf(b) ? a : b;
  return real((high.m << BigInt(shift)) + low.m, low.e);
}

function overReal(a: Real, b: Real): Real {
  const shift = BITS + 8 + bitLength(b.m) - bitLength(a.m);
  return shift > 0 ? real((a.m << BigInt(shift)) / b.m, a.e - b.e - shift) : real(a.m / b.m, a.e - b.e);
}

/** Of a number that is not negative. */
function rootReal(a: Real): Real {
  if (a.m === 0n) return ZERO;
  let shift = Math.max(0, 2 * BITS - bitLength(a.m));
  if ((a.e - shift) % 2 !== 0) shift++;
  const n = a.m << BigInt(shift);
  let x = 1n << BigInt(Math.ceil((bitLength(n) + 1) / 2));
  for (let next = (x + n / x) >> 1n; next < x; next = (x + n / x) >> 1n) x = next;
  return real(x, (a.e - shift) / 2);
}

/** With the error of one rounding beside the given one, unless it is exact. */
function rounded(re: Real, im: Real, error: number, exact = false): Precise {
  const size = Math.max(sizeOf(re), sizeOf(im));
  if (size > 1e9) throw new NotUnderstood('too large a number');
  return { re, im, error: exact ? error : Math.max(error, size - BITS + 4) + 1 };
}

const ONE = integer(1n);
const TWO = integer(2n);
const I: Precise = { re: ZERO, im: { m: 1n, e: 0 }, error: -Infinity };
const HALF: Precise = { re: { m: 1n, e: -1 }, im: ZERO, error: -Infinity };

/** Certainly not 0. */
const isNonzero = (a: Precise) => magnitude(a) > a.error + 8;
const isReal = (a: Precise) => sizeOf(a.im) <= a.error + 4 || a.im.m === 0n;
/** Parts that are nothing but error are dropped: they must not choose a branch. */
const clean = (a: Precise): Precise => ({
  re: sizeOf(a.re) <= a.error + 4 ? ZERO : a.re,
  im: isReal(a) ? ZERO : a.im,
  error: a.error,
});
const negate = ({ re, im, error }: Precise): Precise => ({ re: negative(re), im: negative(im), error });

function add(a: Precise, b: Precise): Precise {
  const [large, small] = magnitude(a) > magnitude(b) ? [a, b] : [b, a];
  // A number that the other one swallows says nothing of the sum.
  if (isNonzero(small) && magnitude(small) < magnitude(large) - BITS + 8) throw new NotUnderstood('a swallowed term');
  return rounded(addReal(a.re, b.re), addReal(a.im, b.im), Math.max(a.error, b.error, magnitude(large) - BITS + 4));
}
const subtract = (a: Precise, b: Precise) => add(a, negate(b));

function multiply(a: Precise, b: Precise): Precise {
  const [x, y] = [magnitude(a), magnitude(b)];
  const error = Math.max(y + a.error, x + b.error, x + y - BITS) + 2;
  if (a.im.m === 0n && b.im.m === 0n) return rounded(timesReal(a.re, b.re), ZERO, error);
  return rounded(
    addReal(timesReal(a.re, b.re), negative(timesReal(a.im, b.im))),
    addReal(timesReal(a.re, b.im), timesReal(a.im, b.re)),
    error,
  );
}

function divide(a: Precise, b: Precise): Precise {
  if (!isNonzero(b)) throw new NotUnderstood('division by zero');
  const size = magnitude(b) - 5;
  const error = Math.max(a.error - size, magnitude(a) + b.error - 2 * size, magnitude(a) - size - BITS) + 4;
  if (magnitude(a) === -Infinity) return { ...a, error: a.error - size };
  if (b.im.m === 0n) return rounded(quotient(a.re, b.re), quotient(a.im, b.re), error);
  const norm = addReal(timesReal(b.re, b.re), timesReal(b.im, b.im));
  return rounded(
    quotient(addReal(timesReal(a.re, b.re), timesReal(a.im, b.im)), norm),
    quotient(addReal(timesReal(a.im, b.re), negative(timesReal(a.re, b.im))), norm),
    error,
  );
}
const quotient = (a: Real, b: Real) => (a.m === 0n ? ZERO : overReal(a, b));

function power(a: Precise, exponent: number): Precise {
  if (exponent < 0) return divide(ONE, power(a, -exponent));
  if (exponent === 0 && !isNonzero(a)) throw new NotUnderstood('zero to the power of zero');
  let result = ONE;
  for (let base = a, k = exponent; k > 0; k = Math.floor(k / 2)) {
    if (k % 2 === 1) result = multiply(result, base);
    if (k > 1) base = multiply(base, base);
  }
  return result;
}

function abs(a: Precise): Precise {
  if (isReal(a)) return { re: a.re.m < 0n ? negative(a.re) : a.re, im: ZERO, error: a.error };
  const norm = addReal(timesReal(a.re, a.re), timesReal(a.im, a.im));
  return rounded(rootReal(norm), ZERO, a.error + 1);
}

function sqrt(given: Precise): Precise {
  const a = clean(given);
  if (a.im.m === 0n && a.re.m === 0n) return { re: ZERO, im: ZERO, error: a.error / 2 };
  const error = a.error - magnitude(a) / 2 + 4;
  if (a.im.m === 0n)
    return a.re.m > 0n ? rounded(rootReal(a.re), ZERO, error) : rounded(ZERO, rootReal(negative(a.re)), error);
  const half = (r: Real): Real => ({ m: r.m, e: r.e - 1 });
  const positive = a.re.m < 0n ? negative(a.re) : a.re;
  const larger = rootReal(half(addReal(abs(a).re, positive)));
  const smaller = overReal(a.im.m < 0n ? negative(a.im) : a.im, { m: larger.m, e: larger.e + 1 });
  const signed = (r: Real) => (a.im.m < 0n ? negative(r) : r);
  return a.re.m >= 0n ? rounded(larger, signed(smaller), error) : rounded(smaller, signed(larger), error);
}

/** x 2^bits as an integer. */
const fixed = ({ m, e }: Real, bits: number) => (e + bits >= 0 ? m << BigInt(e + bits) : m >> BigInt(-e - bits));
const scaled = (value: bigint, bits: number): Precise => rounded(real(value, -bits), ZERO, -bits + 4);

/** The sum of sign^k / ((2k + 1) n^(2k + 1)): the inverse tangent of 1/n, or with sign 1 the hyperbolic one. */
function inverseSeries(n: bigint, sign: 1n | -1n): bigint {
  let term = (1n << BigInt(CONSTANT_BITS)) / n;
  let sum = 0n;
  for (let k = 1n; term !== 0n; k += 2n) {
    sum += term / k;
    term = (sign * term) / (n * n);
  }
  return sum;
}

function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}
const pi = lazily(() => scaled(16n * inverseSeries(5n, -1n) - 4n * inverseSeries(239n, -1n), CONSTANT_BITS));
const ln2 = lazily(() => 2n * inverseSeries(3n, 1n));
const e = lazily(() => exp(ONE));

/** By its series, for an argument that is made small: the real part by multiples of ln 2, and both by halving. */
function exp(a: Precise): Precise {
  const size = Math.max(0, magnitude(a));
  if (size > 100 || a.error > -16) throw new NotUnderstood('too large an exponent');
  const halvings = 10 + Math.max(0, sizeOf(a.im));
  const bits = BITS + 48 + 2 * halvings + size;
  const unit = ln2() >> BigInt(CONSTANT_BITS - bits);
  const whole = fixed(a.re, bits) / unit;
  const re = (fixed(a.re, bits) - whole * unit) >> BigInt(halvings);
  const im = fixed(a.im, bits) >> BigInt(halvings);
  const one = 1n << BigInt(bits);
  const shift = BigInt(bits);
  let [x, y, termX, termY] = [one, 0n, one, 0n];
  for (let k = 1n; k < 200n; k++) {
    [termX, termY] =
      im === 0n
        ? [(termX * re) / (k * one), 0n]
        : [((termX * re - termY * im) >> shift) / k, ((termX * im + termY * re) >> shift) / k];
    x += termX;
    y += termY;
    if (termX >= -1n && termX <= 1n && termY >= -1n && termY <= 1n) break;
  }
  for (let n = 0; n < halvings; n++)
    [x, y] = im === 0n ? [(x * x) >> shift, 0n] : [(x * x - y * y) >> shift, (x * y) >> (shift - 1n)];
  const scale = Number(whole) - bits;
  const result = rounded(real(x, scale), real(y, scale), -Infinity);
  return { ...result, error: Math.max(magnitude(result) + a.error + 2, result.error) };
}

/** By Halley's method from the logarithm in double precision: each step has three times as many digits. */
function ln(given: Precise): Precise {
  const a = clean(given);
  if (!isNonzero(a)) throw new NotUnderstood('the logarithm of zero');
  const scale = magnitude(a);
  const down = (r: Real): Real => ({ m: r.m, e: r.e - scale });
  const near = { re: down(a.re), im: down(a.im), error: -Infinity };
  const double = (r: Real) => Number(fixed(r, 64)) / 2 ** 64;
  const [re, im] = [double(near.re), double(near.im)];
  let y = pointOf(Math.log(Math.hypot(re, im)), Math.atan2(im, re));
  for (let n = 0; n < 3; n++) {
    const power = exp(y);
    y = add({ ...y, error: -Infinity }, multiply(TWO, divide(subtract(near, power), add(near, power))));
  }
  const whole = rounded(real(ln2() * BigInt(scale), -CONSTANT_BITS), ZERO, -CONSTANT_BITS + 40);
  const result = scale === 0 ? y : add(y, whole);
  return { ...result, error: Math.max(-BITS + 24, a.error - magnitude(a) + 8, result.error) };
}

/** A number in double precision, to 2^-40. */
const pointOf = (re: number, im: number): Precise => ({
  re: real(BigInt(Math.round(re * 2 ** 40)), -40),
  im: real(BigInt(Math.round(im * 2 ** 40)), -40),
  error: -Infinity,
});

/** What is a real number, as a floor needs it: a fraction's floor and what is above it. */
function floor(a: Precise): Precise {
  if (!isReal(a)) throw new NotUnderstood('of a number that is not real');
  const whole = fixed(a.re, 0);
  const result = integer(whole);
  // Near an integer the error decides.
  for (const near of [result, integer(whole + 1n)])
    if (a.error > -Infinity && !isNonzero({ ...subtract(a, near), error: a.error }))
      throw new NotUnderstood('the floor of a number that may be an integer');
  return result;
}

function larger(a: Precise, b: Precise): Precise {
  const difference = subtract(a, b);
  if (!isReal(a) || !isReal(b)) throw new NotUnderstood('of a number that is not real');
  return difference.re.m > 0n ? a : b;
}

const general = (a: Precise, b: Precise): Precise => {
  if (!isNonzero(a)) {
    if (b.re.m <= 0n) throw new NotUnderstood('zero to a power that is not positive');
    return { re: ZERO, im: ZERO, error: a.error > -Infinity ? -64 : -Infinity };
  }
  return exp(multiply(b, ln(a)));
};
const root = (a: Precise, n: Precise): Precise => {
  const odd = isReal(n) && n.error === -Infinity && fixed(n.re, 0) % 2n !== 0n;
  const base = clean(a);
  return odd && base.im.m === 0n && base.re.m < 0n
    ? negate(general(negate(base), divide(ONE, n)))
    : general(base, divide(ONE, n));
};
const halves = (f: (x: Precise, y: Precise) => Precise) => (a: Precise) => {
  const x = exp(a);
  return multiply(HALF, f(x, divide(ONE, x)));
};
const sinh = halves(subtract);
const cosh = halves(add);
const cos = (a: Precise) => cosh(multiply(I, a));
const sin = (a: Precise) => multiply(negate(I), sinh(multiply(I, a)));
const arcsin = (a: Precise) => multiply(negate(I), ln(add(multiply(I, a), sqrt(subtract(ONE, multiply(a, a))))));
const arccos = (a: Precise) => subtract(multiply(HALF, pi()), arcsin(a));
const arctan = (a: Precise) => multiply(multiply(HALF, I), ln(divide(add(I, a), subtract(I, a))));

const FUNCTIONS: Record<string, (...args: Precise[]) => Precise> = {
  ...analytic({
    ...{ one: ONE, two: TWO, ten: integer(10n), half: HALF, pi, e, add, subtract, multiply, divide },
    ...{ exp, ln, sqrt, sin, cos, sinh, cosh, arcsin, arccos, arctan },
  }),
  Power: general,
  Root: root,
  Degrees: (a) => divide(multiply(a, pi()), integer(180n)),
  Abs: abs,
  Conjugate: ({ re, im, error }) => ({ re, im: negative(im), error }),
  Real: ({ re, error }) => ({ re, im: ZERO, error }),
  Imaginary: ({ im, error }) => ({ re: im, im: ZERO, error }),
  Floor: floor,
  Ceil: (a) => negate(floor(negate(a))),
  Max: (...all) => all.reduce(larger),
  Min: (...all) => negate(all.map(negate).reduce(larger)),
};

/** The numbers of 448 bits; a symbol has the same value as in double precision. */
export const preciseField = (point: number): Field<Precise> => ({
  number: ({ s, n, d }) => (d === 1n ? integer(s * n) : divide(integer(s * n), integer(d))),
  symbol(name) {
    if (name === 'i') return I;
    if (name === 'e') return e();
    if (name === 'Pi') return pi();
    if (CONSTANTS.has(name)) throw new NotUnderstood(`${name} is no number`);
    const { re, im } = symbolPoint(name, point);
    return pointOf(re, im);
  },
  add,
  negate,
  multiply,
  divide,
  power,
  call(name, args) {
    const f = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    if (!f || args.length === 0 || args.length < f.length) throw new NotUnderstood(`the function ${name}`);
    return f(...args);
  },
});

/** Relative error, as a binary logarithm, above which a value says nothing. */
const CERTAIN = -150;

/** Whether two are the same, as far as their errors tell; null: they are too inexact to tell. */
export function samePrecise(a: Precise, b: Precise): boolean | null {
  const size = Math.max(magnitude(a), magnitude(b));
  const error = Math.max(a.error, b.error);
  if (size === -Infinity) return error < CERTAIN;
  let difference: Precise;
  try {
    difference = subtract(a, b);
  } catch (failure) {
    if (failure instanceof NotUnderstood) return false;
    throw failure;
  }
  if (magnitude(difference) > Math.max(error, size - BITS + 8) + 8) return false;
  // What is left of numbers that cancel is 0 or nothing.
  if (size <= error + 8) return error < CERTAIN ? true : null;
  return error - size < CERTAIN ? true : null;
}
