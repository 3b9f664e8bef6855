import Fraction from 'fraction.js';
import { LatexSyntax } from '#latex-syntax';
import { LIMITS } from './limits.js';

/** A parsed expression, which the evaluators walk. */
export type Expression =
  | { kind: 'number'; value: Fraction; decimal: boolean }
  | { kind: 'symbol'; name: string }
  | { kind: 'call'; name: string; args: Expression[] };

/** Thrown inside the verifier for an answer that it cannot evaluate. It never leaves the verifier. */
export class NotUnderstood extends Error {
  constructor(message: string) {
    // Many are thrown, and nobody reads where.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
  }
}

const syntax = new LatexSyntax();

/** The expression that LaTeX stands for. Throws NotUnderstood. */
export function parseExpression(latex: string): Expression {
  checkBounds(latex);
  // A congruence, which the parser takes for a remainder.
  if (latex.includes('\\pmod')) throw new NotUnderstood('a congruence');
  let json: unknown;
  try {
    json = syntax.parse(latex.replace(/(\\sqrt\s*\[[^[\]]*\])|[[\]]/g, squareToRound));
  } catch (error) {
    throw new NotUnderstood(`the parser failed: ${(error as Error).message}`);
  }
  let nodes = 0;
  const convert = (node: unknown): Expression => {
    if (++nodes > LIMITS.nodes) throw new NotUnderstood('too large an expression');
    if (typeof node === 'number') return decimalNumber(String(node));
    if (typeof node === 'string') return leaf(node);
    if (Array.isArray(node)) return operation(node[0], node.slice(1), convert);
    if (typeof node !== 'object' || node === null) throw new NotUnderstood('an argument is missing');
    const { num, sym, fn } = node as { num?: string; sym?: string; fn?: unknown[] };
    if (num !== undefined) return decimalNumber(num);
    if (sym !== undefined) return leaf(sym);
    if (fn) return operation(fn[0], fn.slice(1), convert);
    throw new NotUnderstood('no expression');
  };
  return convert(json);
}

/** Square brackets that group, as round ones; those of \sqrt[3] stay. */
const squareToRound = (bracket: string, root: string | undefined) => root ?? (bracket === '[' ? '(' : ')');

/** The parser takes time that is exponential in these. */
function checkBounds(latex: string): void {
  if (latex.length > LIMITS.characters) throw new NotUnderstood(`more than ${LIMITS.characters} characters`);
  let bars = 0;
  const open: string[] = [];
  for (const [token] of latex.matchAll(/\\[a-zA-Z]+|\\.|[\s\S]/g)) {
    if (token === '|' || token === '\\|' || token === '\\mid') bars++;
    const opens = '{(['.includes(token) || token === '\\{' || /^\\[lr]?(?:floor|ceil|angle)$/.test(token);
    if (token === '{' || token === '(' || token === '[' || token === '\\{') open.push(token);
    else if (token === '}' || token === ')' || token === ']' || token === '\\}') {
      const from = open.pop();
      if (from === undefined || (from === '{') !== (token === '}') || (from === '\\{') !== (token === '\\}'))
        throw new NotUnderstood('unbalanced brackets');
    }
    if (opens && open.length > LIMITS.depth) throw new NotUnderstood('brackets nested too deeply');
  }
  if (open.length > 0) throw new NotUnderstood('unbalanced brackets');
  if (bars % 2 > 0 || bars > LIMITS.bars) throw new NotUnderstood('too many bars, or an odd number of them');
}

const SYMBOLS = new Map([
  ['GoldenRatio', 'phi'],
  ['EulerGamma', 'gamma'],
  ['ImaginaryUnit', 'i'],
  ['ExponentialE', 'e'],
]);

function leaf(name: string): Expression {
  if (name === '' || name.startsWith("'") || /^(?:Nothing|Undefined|ContinuationPlaceholder|_+)$/.test(name))
    throw new NotUnderstood('not a symbol');
  return { kind: 'symbol', name: SYMBOLS.get(name) ?? name };
}

function operation(name: unknown, args: unknown[], convert: (node: unknown) => Expression): Expression {
  if (typeof name !== 'string' || name === 'Error') throw new NotUnderstood('a syntax error');
  if (name === 'Delimiter') {
    if (args.length !== 1) throw new NotUnderstood('a list in brackets');
    return convert(args[0]);
  }
  // A subscript that is an expression of its own makes a symbol of its own.
  if (name === 'Subscript') return { kind: 'symbol', name: JSON.stringify(args) };
  const inverse = name === 'Power' && isMinusOne(args[1]) && Array.isArray(args[0]) && INVERSES.get(args[0][0]);
  if (inverse) return { kind: 'call', name: inverse, args: [convert((args[0] as unknown[])[1])] };
  if (name === 'InvisibleOperator') {
    const factors = applied(args);
    if (factors.length === 1) return convert(factors[0]);
    if (factors.length < args.length) return { kind: 'call', name: 'Multiply', args: factors.map(convert) };
  }
  if (name === 'InvisibleOperator' && args.length === 2 && !Array.isArray(args[0])) {
    const converted = args.map(convert);
    const mixed = mixedNumber(converted[0], args[1], converted[1]);
    return mixed ?? { kind: 'call', name: 'Multiply', args: converted };
  }
  if (name === 'InvisibleOperator' && args.length === 2 && Array.isArray(args[0]) && args[0][0] === 'Negate') {
    const whole = convert(args[0][1]);
    const mixed = mixedNumber(whole, args[1], convert(args[1]));
    if (mixed) return { kind: 'call', name: 'Negate', args: [mixed] };
  }
  return { kind: 'call', name: name === 'InvisibleOperator' ? 'Multiply' : name, args: args.map(convert) };
}

/** f(x), and g(x) and g(2), are no products: f(x) + f(y) is not f(x + y). Each becomes a symbol of its own. */
function applied(args: unknown[]): unknown[] {
  const result: unknown[] = [];
  for (let i = 0; i < args.length; i++) {
    const next = args[i + 1];
    const raised = Array.isArray(next) && next[0] === 'Power' ? next : undefined;
    const bracket: unknown = raised ? raised[1] : next;
    if (Array.isArray(bracket) && bracket[0] === 'Delimiter' && isFunctionOf(args[i], bracket[1])) {
      const symbol = { sym: `${args[i]}(${JSON.stringify(bracket[1])})` };
      result.push(raised ? ['Power', symbol, raised[2]] : symbol);
      i++;
    } else result.push(args[i]);
  }
  return result;
}

const isFunctionOf = (name: unknown, argument: unknown): boolean =>
  name === 'f' || (name === 'g' && (typeof argument === 'number' || JSON.stringify(argument).includes('"x"')));

const isMinusOne = (node: unknown) => node === -1 || (Array.isArray(node) && node[0] === 'Negate' && node[1] === 1);

/** \sin^{-1} x is read as a power. */
const INVERSES = new Map(
  Object.entries({
    ...{ Sin: 'Arcsin', Cos: 'Arccos', Tan: 'Arctan', Cot: 'Arccot', Sec: 'Arcsec', Csc: 'Arccsc' },
    ...{ Sinh: 'Arsinh', Cosh: 'Arcosh', Tanh: 'Artanh' },
  }),
);

/** 3\frac12 is three and a half where the fraction is a proper one of integers. */
function mixedNumber(whole: Expression, raw: unknown, part: Expression): Expression | undefined {
  if (!Array.isArray(raw) || raw[0] !== 'Divide' || part.kind !== 'call') return undefined;
  const [n, d] = part.args;
  if (whole.kind !== 'number' || n?.kind !== 'number' || d?.kind !== 'number') return undefined;
  const integers = [whole, n, d].every(({ value, decimal }) => !decimal && value.d === 1n && value.s > 0n);
  return integers && n.value.lt(d.value) ? { kind: 'call', name: 'Add', args: [whole, part] } : undefined;
}

/**
 * Digits as the parser gives them: 12, 1.50, 1.6e-19, 0.(3). Exact; `decimal` where it was written as one that ends.
 */
function decimalNumber(text: string): Expression {
  const match = /^(-?)(\d*)(?:\.(\d*)(?:\((\d+)\))?)?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (!match) throw new NotUnderstood(`the number ${text}`);
  const [, sign, whole, digits = '', repeating, exponent = '0'] = match;
  const power = Number(exponent);
  if (Math.abs(power) > LIMITS.exponent / 4) throw new NotUnderstood('too large an exponent');
  let value = new Fraction(BigInt(whole + digits), 10n ** BigInt(digits.length));
  if (repeating) {
    const scale = 10n ** BigInt(digits.length);
    value = value.add(new Fraction(BigInt(repeating), scale * (10n ** BigInt(repeating.length) - 1n)));
  }
  const scale = new Fraction(10n ** BigInt(Math.abs(power)), 1n);
  value = power < 0 ? value.div(scale) : value.mul(scale);
  return {
    kind: 'number',
    value: sign ? value.neg() : value,
    decimal: value.d !== 1n && text.includes('.') && !repeating,
  };
}
