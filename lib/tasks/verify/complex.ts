import { analytic } from './analytic.js';
import { NotUnderstood } from './expression.js';
import type { Field } from './field.js';
import { CONSTANTS } from './modular.js';
import { symbolPoint } from './points.js';

export interface Complex {
  re: number;
  im: number;
}

const complex = (re: number, im = 0): Complex => ({ re, im });
const ONE = complex(1);
const I = complex(0, 1);

export const add = (a: Complex, b: Complex) => complex(a.re + b.re, a.im + b.im);
export const subtract = (a: Complex, b: Complex) => complex(a.re - b.re, a.im - b.im);
export const size = (a: Complex) => Math.hypot(a.re, a.im);
const negate = (a: Complex) => complex(-a.re, -a.im);
const scale = (a: Complex, by: number) => complex(a.re * by, a.im * by);
export const multiply = (a: Complex, b: Complex) =>
  a.im === 0 && b.im === 0 ? complex(a.re * b.re) : complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re);

export function divide(a: Complex, b: Complex): Complex {
  if (b.re === 0 && b.im === 0) throw new NotUnderstood('division by zero');
  if (b.im === 0) return complex(a.re / b.re, a.im / b.re);
  // By the larger part, so that nothing overflows on the way (Smith).
  if (Math.abs(b.re) >= Math.abs(b.im)) {
    const r = b.im / b.re;
    const d = b.re + b.im * r;
    return complex((a.re + a.im * r) / d, (a.im - a.re * r) / d);
  }
  const r = b.re / b.im;
  const d = b.re * r + b.im;
  return complex((a.re * r + a.im) / d, (a.im * r - a.re) / d);
}

function exp(a: Complex): Complex {
  const e = Math.exp(a.re);
  return a.im === 0 ? complex(e) : complex(e * Math.cos(a.im), e * Math.sin(a.im));
}

function ln(a: Complex): Complex {
  if (a.re === 0 && a.im === 0) throw new NotUnderstood('the logarithm of zero');
  return complex(Math.log(size(a)), Math.atan2(a.im, a.re));
}

function sqrt(a: Complex): Complex {
  if (a.im === 0) return a.re >= 0 ? complex(Math.sqrt(a.re)) : complex(0, Math.sqrt(-a.re));
  const re = Math.sqrt((size(a) + Math.abs(a.re)) / 2);
  const im = Math.abs(a.im) / (2 * re);
  return a.re >= 0 ? complex(re, Math.sign(a.im) * im) : complex(im, Math.sign(a.im) * re);
}

function power(a: Complex, b: Complex): Complex {
  if (a.re === 0 && a.im === 0) {
    if (b.re <= 0) throw new NotUnderstood('zero to a power that is not positive');
    return complex(0);
  }
  if (a.im === 0 && b.im === 0 && a.re > 0) return complex(a.re ** b.re);
  return exp(multiply(b, ln(a)));
}

function integerPower(a: Complex, exponent: number): Complex {
  if (a.im === 0) return a.re === 0 ? power(a, complex(exponent)) : complex(a.re ** exponent);
  let result = ONE;
  for (let base = a, k = Math.abs(exponent); k > 0; k = Math.floor(k / 2)) {
    if (k % 2 === 1) result = multiply(result, base);
    base = multiply(base, base);
  }
  return exponent < 0 ? divide(ONE, result) : result;
}

/** The real root of a negative number where there is one, else the principal root. */
function root(a: Complex, n: Complex): Complex {
  if (a.im === 0 && a.re < 0 && n.im === 0 && Math.abs(n.re % 2) === 1) return complex(-((-a.re) ** (1 / n.re)));
  return power(a, divide(ONE, n));
}

const sin = (a: Complex) =>
  a.im === 0 ? complex(Math.sin(a.re)) : complex(Math.sin(a.re) * Math.cosh(a.im), Math.cos(a.re) * Math.sinh(a.im));
const cos = (a: Complex) =>
  a.im === 0 ? complex(Math.cos(a.re)) : complex(Math.cos(a.re) * Math.cosh(a.im), -Math.sin(a.re) * Math.sinh(a.im));
const sinh = (a: Complex) => scale(subtract(exp(a), exp(negate(a))), 0.5);
const cosh = (a: Complex) => scale(add(exp(a), exp(negate(a))), 0.5);

function arcsin(a: Complex): Complex {
  if (a.im === 0 && Math.abs(a.re) <= 1) return complex(Math.asin(a.re));
  // -i ln(i a + sqrt(1 - a^2))
  return multiply(negate(I), ln(add(multiply(I, a), sqrt(subtract(ONE, multiply(a, a))))));
}

function arccos(a: Complex): Complex {
  if (a.im === 0 && Math.abs(a.re) <= 1) return complex(Math.acos(a.re));
  return subtract(complex(Math.PI / 2), arcsin(a));
}

function arctan(a: Complex): Complex {
  if (a.im === 0) return complex(Math.atan(a.re));
  // i/2 ln((i + a) / (i - a))
  return scale(multiply(I, ln(divide(add(I, a), subtract(I, a)))), 0.5);
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

/** Gamma(a + 1), by Lanczos' approximation. */
function factorial(a: Complex): Complex {
  if (a.im === 0 && a.re < 0 && Number.isInteger(a.re)) throw new NotUnderstood('the factorial of a negative integer');
  if (a.re < -0.5) {
    // pi a / (sin(pi a) Gamma(1 - a)) = Gamma(1 + a)
    const x = scale(a, Math.PI);
    return divide(x, multiply(sin(x), factorial(negate(a))));
  }
  const t = add(a, complex(7.5));
  let sum = complex(LANCZOS[0]);
  for (let k = 1; k < LANCZOS.length; k++) sum = add(sum, divide(complex(LANCZOS[k]), add(a, complex(k))));
  return multiply(scale(multiply(power(t, add(a, complex(0.5))), exp(negate(t))), Math.sqrt(2 * Math.PI)), sum);
}

function real(a: Complex): number {
  if (Math.abs(a.im) > 1e-12 * Math.abs(a.re)) throw new NotUnderstood('of a number that is not real');
  return a.re;
}

const FUNCTIONS: Record<string, (...args: Complex[]) => Complex> = {
  ...analytic({
    ...{ one: ONE, two: complex(2), ten: complex(10), half: complex(0.5) },
    ...{ pi: () => complex(Math.PI), e: () => complex(Math.E), add, subtract, multiply, divide },
    ...{ exp, ln, sqrt, sin, cos, sinh, cosh, arcsin, arccos, arctan },
  }),
  Power: power,
  Root: root,
  Degrees: (a) => scale(a, Math.PI / 180),
  Abs: (a) => complex(size(a)),
  Conjugate: (a) => complex(a.re, -a.im),
  Real: (a) => complex(a.re),
  Imaginary: (a) => complex(a.im),
  Floor: (a) => complex(Math.floor(real(a))),
  Ceil: (a) => complex(Math.ceil(real(a))),
  Max: (...all) => complex(Math.max(...all.map(real))),
  Min: (...all) => complex(Math.min(...all.map(real))),
  Factorial: factorial,
  Binomial: (n, k) => divide(factorial(n), multiply(factorial(k), factorial(subtract(n, k)))),
};

/** A value and a bound of its rounding error. The remainder of 10^{30} \\pi - 10^{30} \\pi is nothing but error. */
export interface Approximate {
  value: Complex;
  error: number;
}

/** Relative error of one operation: a few units in the last place. */
const EPSILON = 2 ** -50;

/** Complex numbers in double precision. The value of a symbol depends on its name and on `point`. */
export const complexField = (point: number): Field<Approximate> => ({
  number(exact) {
    const value = exact.valueOf();
    return approximate(complex(value), Number.isSafeInteger(value) ? 0 : EPSILON * Math.abs(value));
  },
  symbol(name) {
    if (name === 'i') return exactly(I);
    if (name === 'e') return rounded(complex(Math.E), 0);
    if (name === 'Pi') return rounded(complex(Math.PI), 0);
    if (CONSTANTS.has(name)) throw new NotUnderstood(`${name} is no number`);
    return exactly(symbolPoint(name, point));
  },
  add: (a, b) => rounded(add(a.value, b.value), a.error + b.error),
  negate: ({ value, error }) => ({ value: negate(value), error }),
  multiply: (a, b) =>
    rounded(multiply(a.value, b.value), size(a.value) * b.error + size(b.value) * a.error + a.error * b.error),
  divide: (a, b) => through(divide, [a, b]),
  power: (a, exponent) => through((base) => integerPower(base, exponent), [a]),
  call(name, args) {
    const f = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    if (!f || args.length === 0 || args.length < f.length) throw new NotUnderstood(`the function ${name}`);
    return through(f, args);
  },
});

const exactly = (value: Complex): Approximate => ({ value, error: 0 });
const rounded = (value: Complex, error: number) => approximate(value, error + EPSILON * size(value));

function approximate(value: Complex, error: number): Approximate {
  if (!Number.isFinite(value.re) || !Number.isFinite(value.im)) throw new NotUnderstood('no finite value');
  return { value, error };
}

/** The error of a function is by how much its value moves when an argument moves by its own error. */
function through(f: (...args: Complex[]) => Complex, args: readonly Approximate[]): Approximate {
  const values = args.map(({ value }) => value);
  const value = f(...values);
  const moved = (k: number): number => {
    const { re, im } = values[k];
    try {
      return size(subtract(f(...values.with(k, complex(re + args[k].error, im))), value));
    } catch (error) {
      if (error instanceof NotUnderstood) return Infinity;
      throw error;
    }
  };
  return rounded(
    value,
    args.reduce((sum, { error }, k) => sum + (error > 0 ? moved(k) : 0), 0),
  );
}
