import Fraction from 'fraction.js';
import { NotUnderstood } from './expression.js';
import type { Field } from './field.js';
import { LIMITS } from './limits.js';

const LARGEST = 1n << LIMITS.bits;
const LARGEST_PART = 1n << LIMITS.fractionBits;
const ZERO = new Fraction(0n, 1n);
const ONE = new Fraction(1n, 1n);

/** Rational numbers, of a size that is bounded. */
export const exactField: Field<Fraction> & { readonly one: Fraction } = {
  one: ONE,
  number: (value) => value,
  symbol(name) {
    throw new NotUnderstood(`${name} is no number`);
  },
  add: (a, b) => bounded(a.d === 1n && b.d === 1n ? a.add(b) : part(a).add(part(b))),
  negate: (a) => a.neg(),
  multiply: (a, b) => bounded(a.d === 1n && b.d === 1n ? a.mul(b) : part(a).mul(part(b))),
  divide(a, b) {
    if (b.n === 0n) throw new NotUnderstood('division by zero');
    if (a.d === 1n && b.d === 1n && a.n % b.n === 0n) return new Fraction(a.s * b.s * (a.n / b.n), 1n);
    return bounded(part(a).div(part(b)));
  },
  power(a, exponent) {
    if (a.n === 0n && exponent <= 0) throw new NotUnderstood('zero to a power that is not positive');
    const k = BigInt(Math.abs(exponent));
    const limit = a.d === 1n ? LIMITS.bits : LIMITS.fractionBits;
    if (k * BigInt(Math.max(a.n.toString(2).length, a.d.toString(2).length)) > limit) tooLarge();
    const value = new Fraction(a.s < 0n && k % 2n === 1n ? -(a.n ** k) : a.n ** k, a.d ** k);
    return exponent < 0 ? value.inverse() : value;
  },
  call(name, args) {
    const f = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    if (!f || args.length === 0 || args.length < f.length) throw new NotUnderstood(`${name} is not rational`);
    return bounded(f(...args));
  },
};

function bounded(a: Fraction): Fraction {
  if (a.n > LARGEST || a.d > LARGEST) tooLarge();
  return a;
}

/** What may be a part of a fraction. */
function part(a: Fraction): Fraction {
  if (a.n > LARGEST_PART || a.d > LARGEST_PART) tooLarge();
  return a;
}

function tooLarge(): never {
  throw new NotUnderstood('too large a number');
}

/** Those whose values are rational for rational arguments, at least for some. */
const FUNCTIONS: Record<string, (...args: Fraction[]) => Fraction> = {
  Abs: (a) => a.abs(),
  Floor: (a) => a.floor(),
  Ceil: (a) => a.ceil(),
  Max: (...all) => all.reduce((a, b) => (a.lt(b) ? b : a)),
  Min: (...all) => all.reduce((a, b) => (b.lt(a) ? b : a)),
  GCD: (...all) => all.reduce((a, b) => integer(a).gcd(integer(b))),
  LCM: (...all) => all.reduce((a, b) => integer(a).lcm(integer(b))),
  Mod(a, b) {
    if (b.n === 0n) throw new NotUnderstood('a remainder of division by zero');
    return a.sub(b.mul(a.div(b).floor()));
  },
  Sqrt: (a) => root(a, 2),
  Root: (a, n) => root(a, small(n)),
  Power: (a, exponent) => exactField.power(root(a, Number(exponent.d)), small(exponent.mul(exponent.d, 1n))),
  Factorial: (a) => product(small(a), 1),
  Factorial2: (a) => product(small(a), 2),
  Binomial: (n, k) => {
    const of = small(n);
    const chosen = small(k);
    return chosen < 0 || chosen > of ? ZERO : product(of, 1).div(product(chosen, 1).mul(product(of - chosen, 1)));
  },
};

function product(n: number, step: number): Fraction {
  if (n < 0 || n > LIMITS.factorial) throw new NotUnderstood('the factorial of a number that is negative or too large');
  let value = 1n;
  for (let i = n; i > 1; i -= step) value *= BigInt(i);
  return new Fraction(value, 1n);
}

function integer(a: Fraction): Fraction {
  if (a.d !== 1n) throw new NotUnderstood(`${a.toFraction()} is no integer`);
  return a;
}

function small(a: Fraction): number {
  const value = Number(integer(a).n * a.s);
  if (Math.abs(value) > LIMITS.exponent) tooLarge();
  return value;
}

/** Where it is rational. */
function root(a: Fraction, n: number): Fraction {
  if (n === 1) return a;
  if (n < 1 || n > 64 || (a.s < 0n && n % 2 === 0)) throw new NotUnderstood('no real root');
  const value = new Fraction(integerRoot(a.n, n), integerRoot(a.d, n));
  return a.s < 0n ? value.neg() : value;
}

/** By Newton's method from above. */
function integerRoot(a: bigint, n: number): bigint {
  if (a < 2n) return a;
  const k = BigInt(n);
  let x = 1n << BigInt(Math.ceil((a.toString(16).length * 4) / n));
  for (;;) {
    const next = ((k - 1n) * x + a / x ** (k - 1n)) / k;
    if (next >= x) break;
    x = next;
  }
  if (x ** k !== a) throw new NotUnderstood('an irrational root');
  return x;
}
