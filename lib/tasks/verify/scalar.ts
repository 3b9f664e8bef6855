import type Fraction from 'fraction.js';
import { type Approximate, complexField, divide, size, subtract } from './complex.js';
import { evaluate } from './evaluate.js';
import { exactField } from './exact.js';
import { type Expression, NotUnderstood, parseExpression } from './expression.js';
import { CONSTANTS, MODULUS, modularField } from './modular.js';
import { isComplex, isPositive, POINT_NUMBERS, STEP_POINTS } from './points.js';
import { type Precise, preciseField, samePrecise } from './precise.js';

/** Points at which rational functions are compared. */
const MODULAR_POINTS = [0, 1];
/** Points at which functions are compared before they are in 448 bits, and those after. */
const FIRST_POINTS = POINT_NUMBERS.slice(0, 2);
const OTHER_POINTS = POINT_NUMBERS.slice(2);
/** Relative: numbers in double precision that differ by more are different. */
const ROUNDING = 1e-9;
/** Relative: what decides where nothing is more precise than doubles. */
const CLOSE = 1e-12;
/** Relative: a value with a larger error says nothing, but that it may be 0. */
const UNCERTAIN = 1e-6;
/** Digits from which a decimal stands for the number that it rounds. */
const DIGITS = 6;

/** An expression, parsed and evaluated when that is first asked for. */
export class Scalar {
  readonly #expression: () => Expression | null;
  readonly #values = lazily(() => this.expression && new Values(this.expression));
  readonly #decimal = lazily(() => decimalOf(this.latex));

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

  /** A decimal and nothing else; null for other numbers. */
  get decimal(): Decimal | null {
    return this.#decimal();
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

  call(name: string, ...others: Scalar[]): Scalar | null {
    const args = [this, ...others].map(({ expression }) => expression);
    if (args.some((arg) => !arg)) return null;
    const latex = [this, ...others].map((each) => each.latex).join(',');
    return new Scalar(`${name}(${latex})`, { kind: 'call', name, args: args as Expression[] });
  }
}

/** What an expression is worth, in each kind of number; null in those that have no value of it. */
class Values {
  /** Symbols in it, those left out that mean a number. */
  readonly symbols: ReadonlySet<string>;
  readonly infinite: -1 | 0 | 1;
  /** It has a function of several branches: an identity of positive numbers need not hold below 0. */
  readonly branches: boolean;
  /** It has a function of real numbers, such as |x|. */
  readonly real: boolean;
  /** It has a floor or the like. */
  readonly steps: boolean;
  readonly #exact: () => Fraction | null;
  readonly #modular: () => bigint[] | null;
  readonly #complex = new Map<number, Approximate | null>();
  readonly #precise = new Map<number, Precise | null>();

  constructor(readonly expression: Expression) {
    const symbols = new Set<string>();
    let [branches, real, steps] = [false, false, false];
    const visit = (node: Expression) => {
      if (node.kind === 'symbol' && !CONSTANTS.has(node.name)) symbols.add(node.name);
      if (node.kind !== 'call') return;
      const { name, args } = node;
      args.forEach(visit);
      branches ||= (BRANCHES.has(name) || (name === 'Power' && !isIntegerNode(args[1]))) && args.some(hasSymbols);
      real ||= REAL.has(name);
      steps ||= STEPS.has(name);
    };
    visit(expression);
    this.symbols = symbols;
    this.branches = branches;
    this.real = real;
    this.steps = steps;
    this.infinite = infinity(expression);
    const constant = symbols.size === 0;
    this.#exact = lazily(() => (constant ? understood(() => evaluate(expression, exactField)) : null));
    this.#modular = lazily(() =>
      understood(() => MODULAR_POINTS.map((point) => evaluate(expression, modularField(point)))),
    );
  }

  get exact() {
    return this.#exact();
  }
  get modular() {
    return this.#modular();
  }
  complex(point: number): Approximate | null {
    return cached(this.#complex, point, () => evaluate(this.expression, complexField(point)));
  }
  precise(point: number): Precise | null {
    return cached(this.#precise, point, () => evaluate(this.expression, preciseField(point)));
  }
}

const STEPS = new Set(['Floor', 'Ceil', 'Mod']);
const REAL = new Set(['Abs', 'Max', 'Min', ...STEPS]);
const BRANCHES = new Set([
  ...['Sqrt', 'Root', 'Ln', 'Log', 'Lb', 'Factorial', 'Factorial2', 'Binomial'],
  ...['Arcsin', 'Arccos', 'Arcsec', 'Arccsc', 'Arcosh', 'Artanh'],
]);

const isIntegerNode = (node: Expression | undefined): boolean =>
  node?.kind === 'number'
    ? node.value.d === 1n
    : node?.kind === 'call' && node.name === 'Negate' && isIntegerNode(node.args[0]);
const hasSymbols = (node: Expression): boolean =>
  node.kind === 'symbol' ? !CONSTANTS.has(node.name) : node.kind === 'call' && node.args.some(hasSymbols);

function cached<T>(found: Map<number, T | null>, point: number, make: () => T): T | null {
  let value = found.get(point);
  if (value === undefined) found.set(point, (value = understood(make)));
  return value;
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
    if (error instanceof NotUnderstood || (error as Error).name === 'RangeError') return null;
    throw error;
  }
}

function infinity(expression: Expression): -1 | 0 | 1 {
  if (expression.kind === 'symbol')
    return expression.name === 'PositiveInfinity' ? 1 : expression.name === 'NegativeInfinity' ? -1 : 0;
  if (expression.kind === 'call' && expression.name === 'Negate') return -infinity(expression.args[0]) as -1 | 0 | 1;
  return 0;
}

/**
 * Whether an expression is the same number as the gold one, or the same function of their symbols. Rational numbers and
 * functions are compared exactly. What doubles do not tell apart is compared in 448 bits.
 */
export function equalScalars(gold: Scalar, answer: Scalar): boolean {
  if (sameText(gold.latex, answer.latex)) return true;
  const x = gold.values;
  const y = answer.values;
  if (!x || !y) return false;
  if (x.infinite || y.infinite) return x.infinite === y.infinite;
  if (x.exact && y.exact) return x.exact.equals(y.exact) || standsFor(gold, answer);
  if (standsFor(gold, answer)) return true;
  if (x.modular && y.modular) return x.modular.every((value, k) => value === y.modular![k]);
  return sameFunctions(x, y);
}

function sameFunctions(x: Values, y: Values): boolean {
  const constant = x.symbols.size + y.symbols.size === 0;
  const near = agreement(x, y, constant ? [0] : FIRST_POINTS);
  if (!near) return false;
  const [p, q] = [x.precise(0), y.precise(0)];
  const same = p && q && samePrecise(p, q);
  // One point is enough for functions without corners and steps.
  if (same === false || (same && (constant || (!x.real && !y.real)))) return !!same;
  const others = constant ? [] : x.steps || y.steps ? [...OTHER_POINTS, ...STEP_POINTS] : OTHER_POINTS;
  const far = agreement(x, y, others);
  if (!far) return false;
  const compared = near.compared + far.compared > (constant ? 0 : 2);
  return compared && (!!same || (near.close && far.close && !x.exact && !y.exact));
}

/** How many points two functions agree at in double precision, and whether closely; null: they differ at one. */
function agreement(x: Values, y: Values, points: readonly number[]): { compared: number; close: boolean } | null {
  let [compared, close] = [0, true];
  for (const point of points) {
    const [p, q] = [x.complex(point), y.complex(point)];
    if (!p || !q || isUncertain(p) || isUncertain(q)) continue;
    const largest = Math.max(size(p.value), size(q.value));
    const difference = size(subtract(p.value, q.value));
    const error = p.error + q.error;
    if (difference <= Math.max(ROUNDING * largest, error)) {
      compared++;
      close &&= difference <= Math.max(CLOSE * largest, error);
    } else if (isDecisive(point, x, y)) return null;
  }
  return { compared, close };
}

/** Below 0 only functions of one branch must agree, and beside the real axis those that are no |x|. */
const isDecisive = (point: number, x: Values, y: Values): boolean =>
  isComplex(point) ? !x.real && !y.real : isPositive(point) || (!x.branches && !y.branches);

const isUncertain = ({ value, error }: Approximate) => !(error <= UNCERTAIN * size(value));
const mayBeZero = ({ value, error }: Approximate) => size(value) <= error;

/** A decimal as it is written: its last place is worth `unit`. */
interface Decimal {
  digits: number;
  unit: number;
}

const DECIMAL =
  /^\s*[-+]?\s*(\d*)(?:\.(\d*))?\s*(?:(?:\\times|\\cdot)\s*10\s*\^\s*(?:\{\s*([-+]?\d{1,4})\s*\}|(\d))|[eE]([-+]?\d{1,4}))?\s*$/;

function decimalOf(latex: string): Decimal | null {
  const match = DECIMAL.exec(latex);
  if (!match || match[1].length + (match[2]?.length ?? 0) === 0) return null;
  const [, whole, places = '', braced, bare, scientific] = match;
  const digits = (whole + places).replace(/^0+/, '').length;
  return { digits, unit: 10 ** (Number(braced ?? bare ?? scientific ?? 0) - places.length) };
}

/** A decimal of six digits or more stands for the number that it is when rounded or cut, but for no integer. */
function standsFor(gold: Scalar, answer: Scalar): boolean {
  if (isInteger(gold) || isInteger(answer)) return false;
  // Of two decimals the gold one says how many places count.
  if (gold.decimal && answer.decimal) return gold.decimal.digits >= DIGITS && isNear(gold, answer, 0.5);
  const [decimal, exact] = gold.decimal ? [gold, answer] : [answer, gold];
  if (!decimal.decimal || decimal.decimal.digits < DIGITS) return false;
  return isNear(decimal, exact, 0.5) || (isNear(decimal, exact, 1) && absolute(decimal) < absolute(exact));
}

const absolute = ({ values }: Scalar) => size(values!.complex(0)!.value);
const isInteger = ({ values }: Scalar) => values?.exact?.d === 1n;

function isNear(decimal: Scalar, other: Scalar, units: number): boolean {
  const [p, q] = [decimal, other].map(({ values }) => values?.symbols.size === 0 && values.complex(0));
  if (!p || !q || isUncertain(p) || isUncertain(q)) return false;
  const slack = 2 ** -50 * size(p.value);
  return size(subtract(p.value, q.value)) <= units * (1 + 1e-9) * decimal.decimal!.unit + slack + q.error;
}

/** Whether `decimal` is `exact`, rounded to the digits that it shows. An integer or a decimal has nothing to round. */
export function isRounding(exact: Scalar, decimal: Scalar): boolean {
  if (exact.decimal || isInteger(exact) || !decimal.decimal || decimal.decimal.digits === 0) return false;
  return isNear(decimal, exact, 0.5);
}

/** Apart from spaces that keep no digits or letters apart, and not nothing. */
export function sameText(a: string, b: string): boolean {
  const squeeze = (s: string) => s.replace(/(?<!\w)\s+|\s+(?!\w)/g, '');
  return squeeze(a) !== '' && squeeze(a) === squeeze(b);
}

/**
 * Whether one is the other times a constant other than 0. Equations are compared this way. It returns the sign of the
 * constant if it is real, NaN if it is not, and 0 if there is none.
 */
export function constantFactor(a: Scalar, b: Scalar): number {
  const x = a.values;
  const y = b.values;
  if (!x?.symbols.size || !y?.symbols.size) return 0;
  const modular = x.modular && y.modular;
  if (modular) {
    const [p, q] = [x.modular!, y.modular!];
    if ([...p, ...q].some((value) => value === 0n) || (p[0] * q[1] - p[1] * q[0]) % MODULUS !== 0n) return 0;
  }
  const ratios = POINT_NUMBERS.flatMap((point) => {
    const [p, q] = [x.complex(point), y.complex(point)];
    if (!p || !q || !isDecisive(point, x, y) || isUncertain(p) || isUncertain(q) || mayBeZero(p) || mayBeZero(q))
      return [];
    return [divide(p.value, q.value)];
  });
  if (ratios.length < 3) return 0;
  // A ratio may overflow: what is no number must not pass.
  const [first] = ratios;
  const tolerance = 1e-8;
  if (!ratios.every((ratio) => size(subtract(ratio, first)) <= tolerance * size(first))) return 0;
  if (!modular && !sameRatio(x, y)) return 0;
  return Math.abs(first.im) <= tolerance * size(first) ? Math.sign(first.re) : Number.NaN;
}

/** Confirms in 448 bits that p / q is the same at two points. */
function sameRatio(x: Values, y: Values): boolean {
  const [p, q] = [0, 2].map((point) => [x.precise(point), y.precise(point)]);
  if (!p[0] || !p[1] || !q[0] || !q[1]) return false;
  const { multiply } = preciseField(0);
  return samePrecise(multiply(p[0], q[1]), multiply(q[0], p[1])) === true;
}
