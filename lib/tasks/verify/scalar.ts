import type Fraction from 'fraction.js';
import { type Approximate, type Complex, complexField, divide, size, subtract } from './complex.js';
import { evaluate } from './evaluate.js';
import { exactField } from './exact.js';
import { type Expression, NotUnderstood, parseExpression } from './expression.js';
import { CONSTANTS, MODULUS, modularField } from './modular.js';

/** Points at which expressions with symbols are compared. */
const MODULAR_POINTS = [0, 1];
const COMPLEX_POINTS = [0, 1, 2, 3, 4];
/** Relative, of numbers computed in double precision. */
const ROUNDING = 1e-9;
/** Relative, where a side was written as a decimal. */
const DECIMAL = 1e-6;
/** Relative: a value with a larger error says nothing, but that it may be 0. */
const UNCERTAIN = 1e-6;

/** An expression, parsed and evaluated when that is first asked for. */
export class Scalar {
  readonly #expression: () => Expression | null;
  readonly #values = lazily(() => this.expression && new Values(this.expression));

  constructor(
    readonly latex: string,
    expression?: Expression,
  ) {
    this.#expression = lazily(() => expression ?? understood(() => parseExpression(latex)));
  }

  /** null: not understood. */
  get expression(): Expression | null {
    return this.#expression();
  }

  get values(): Values | null {
    return this.#values();
  }

  /** The difference of two, as for an equation. */
  minus(other: Scalar): Scalar | null {
    if (!this.expression || !other.expression) return null;
    return new Scalar(`${this.latex}-(${other.latex})`, {
      kind: 'call',
      name: 'Subtract',
      args: [this.expression, other.expression],
    });
  }

  call(name: string): Scalar | null {
    return this.expression && new Scalar(`${name}(${this.latex})`, { kind: 'call', name, args: [this.expression] });
  }
}

/** What an expression is worth, in each kind of number; null in those that have no value of it. */
class Values {
  /** Symbols in it, those left out that mean a number. */
  readonly symbols: ReadonlySet<string>;
  /** Some number in it was written as a decimal that ends. */
  readonly decimal: boolean;
  readonly infinite: -1 | 0 | 1;
  readonly #exact: () => Fraction | null;
  readonly #modular: () => bigint[] | null;
  readonly #complex: () => Approximate[] | null;

  constructor(expression: Expression) {
    const symbols = new Set<string>();
    let decimal = false;
    const visit = (node: Expression) => {
      if (node.kind === 'call') node.args.forEach(visit);
      else if (node.kind === 'number') decimal ||= node.decimal;
      else if (!CONSTANTS.has(node.name)) symbols.add(node.name);
    };
    visit(expression);
    this.symbols = symbols;
    this.decimal = decimal;
    this.infinite = infinity(expression);
    const constant = symbols.size === 0;
    this.#exact = lazily(() => (constant ? understood(() => evaluate(expression, exactField)) : null));
    this.#modular = lazily(() =>
      understood(() => MODULAR_POINTS.map((point) => evaluate(expression, modularField(point)))),
    );
    this.#complex = lazily(() =>
      understood(() => (constant ? [0] : COMPLEX_POINTS).map((point) => evaluate(expression, complexField(point)))),
    );
  }

  get exact() {
    return this.#exact();
  }
  get modular() {
    return this.#modular();
  }
  get complex() {
    return this.#complex();
  }
}

function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

function understood<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    // Deep recursion is bounded by the number of nodes, but by nothing tighter.
    if (error instanceof NotUnderstood || error instanceof RangeError) return null;
    throw error;
  }
}

function infinity(expression: Expression): -1 | 0 | 1 {
  if (expression.kind === 'symbol')
    return expression.name === 'PositiveInfinity' ? 1 : expression.name === 'NegativeInfinity' ? -1 : 0;
  if (expression.kind === 'call' && expression.name === 'Negate') return -infinity(expression.args[0]) as -1 | 0 | 1;
  return 0;
}

/** Whether two expressions are the same number, or the same function of their symbols. */
export function equalScalars(a: Scalar, b: Scalar): boolean {
  if (sameText(a.latex, b.latex)) return true;
  const x = a.values;
  const y = b.values;
  if (!x || !y) return false;
  if (x.infinite || y.infinite) return x.infinite === y.infinite;
  const decimal = x.decimal || y.decimal;
  if (x.exact && y.exact) {
    if (x.exact.equals(y.exact)) return true;
    return decimal && nearlyEqual(x.exact, y.exact);
  }
  if (x.modular && y.modular) {
    if (x.modular.every((value, k) => value === y.modular![k])) return true;
    if (!decimal) return false;
  }
  if (!x.complex || !y.complex) return false;
  const points = Math.max(x.complex.length, y.complex.length);
  for (let k = 0; k < points; k++) {
    const p = x.complex[k] ?? x.complex[0];
    const q = y.complex[k] ?? y.complex[0];
    if (isUncertain(p) || isUncertain(q)) {
      if (mayBeZero(p) && mayBeZero(q)) continue;
      return false;
    }
    const largest = Math.max(size(p.value), size(q.value));
    const difference = size(subtract(p.value, q.value));
    if (difference <= Math.max((decimal ? DECIMAL : ROUNDING) * largest, p.error + q.error)) continue;
    if (decimal && x.symbols.size + y.symbols.size === 0 && sameWhenRounded(p.value, q.value)) continue;
    return false;
  }
  return true;
}

const isUncertain = ({ value, error }: Approximate) => !(error <= UNCERTAIN * size(value));
const mayBeZero = ({ value, error }: Approximate) => size(value) <= error;

/** Whether two numbers differ by a hundredth at most. */
export function aboutEqual(a: Scalar, b: Scalar): boolean {
  const [x, y] = [a.values, b.values];
  if (x?.symbols.size !== 0 || y?.symbols.size !== 0 || !x.complex || !y.complex) return false;
  const [p, q] = [x.complex[0], y.complex[0]];
  return !isUncertain(p) && !isUncertain(q) && size(subtract(p.value, q.value)) <= 0.01 * size(p.value);
}

/** Apart from spaces that keep no digits or letters apart, and not nothing. */
export function sameText(a: string, b: string): boolean {
  const squeeze = (s: string) => s.replace(/(?<!\w)\s+|\s+(?!\w)/g, '');
  return squeeze(a) !== '' && squeeze(a) === squeeze(b);
}

/** Within 1e-6 of the larger, or the same 6 places: a decimal says no more. Never within an absolute distance of 0. */
function nearlyEqual(a: Fraction, b: Fraction): boolean {
  const larger = a.abs().lt(b.abs()) ? b.abs() : a.abs();
  if (a.sub(b).abs().mul(1_000_000n, 1n).lte(larger)) return true;
  return sameWhenRounded({ re: a.valueOf(), im: 0 }, { re: b.valueOf(), im: 0 });
}

function sameWhenRounded(a: Complex, b: Complex): boolean {
  const same = (x: number, y: number) => Math.abs(x) <= 1e15 && x.toFixed(6) === y.toFixed(6);
  return Math.min(size(a), size(b)) > 1e-3 && same(a.re, b.re) && same(a.im, b.im);
}

/**
 * Whether one is the other times a constant other than 0. Equations are compared this way. It returns the sign of the
 * constant if it is real, NaN if it is not, and 0 if there is none.
 */
export function constantFactor(a: Scalar, b: Scalar): number {
  const x = a.values;
  const y = b.values;
  if (!x?.symbols.size || !y?.symbols.size || !x.complex || !y.complex) return 0;
  if (x.modular && y.modular && !x.decimal && !y.decimal) {
    const [p, q] = [x.modular, y.modular];
    if ([...p, ...q].some((value) => value === 0n) || (p[0] * q[1] - p[1] * q[0]) % MODULUS !== 0n) return 0;
  }
  if ([...x.complex, ...y.complex].some((each) => isUncertain(each) || mayBeZero(each))) return 0;
  const ratios = x.complex.map(({ value }, k) => divide(value, y.complex![k].value));
  const tolerance = x.decimal || y.decimal ? DECIMAL : 1e-8;
  // A ratio may overflow: what is no number must not pass.
  if (!ratios.every((ratio) => size(subtract(ratio, ratios[0])) <= tolerance * size(ratios[0]))) return 0;
  return Math.abs(ratios[0].im) <= tolerance * size(ratios[0]) ? Math.sign(ratios[0].re) : Number.NaN;
}
