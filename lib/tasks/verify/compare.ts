import { aboutEqual, constantFactor, equalScalars, Scalar, sameText } from './scalar.js';
import type { Answer } from './structure.js';

type Of<K extends Answer['kind']> = Extract<Answer, { kind: K }>;

/** Whether an answer says what the gold answer says, kind by kind. */
export function sameAnswer(gold: Answer, answer: Answer): boolean {
  if (approximations(answer)?.some((stated) => sameAnswer(gold, stated))) return true;
  const a = simple(gold);
  const b = simple(answer);
  if (a.kind === 'relation' || b.kind === 'relation') return sameRelations(a, b);
  if (isSeveral(a) || isSeveral(b)) {
    const named = coordinates(a, b) ?? coordinates(b, a);
    if (named !== undefined) return named;
    if (isSeveral(a) && isSeveral(b)) return sameItems(itemsOf(a), itemsOf(b));
    // (1, 2, 3) without its brackets; of two it could be an interval.
    if (a.kind === 'tuple' || b.kind === 'tuple') return sameLong(a, b);
    return sameItems(itemsOf(a), itemsOf(b));
  }
  if (isNumber(a) && isNumber(b)) return sameNumbers(a, b);
  if (a.kind === 'text' || b.kind === 'text') return sameTexts(a, b);
  if (a.kind === 'matrix' || b.kind === 'matrix') return sameMatrices(a, b);
  // Of two items the brackets say which ends belong to an interval.
  if (a.kind === 'tuple' && b.kind === 'tuple')
    return ((a.open === b.open && a.close === b.close) || a.items.length > 2) && inOrder(a.items, b.items);
  if (a.kind === 'union' && b.kind === 'union')
    return a.operator === b.operator && (a.operator === '\\setminus' ? inOrder : sameItems)(a.items, b.items);
  if (a.kind === 'ratio' || b.kind === 'ratio') return sameRatios(a, b);
  if (a.kind === 'based' || b.kind === 'based') return sameBased(a, b);
  return false;
}

/** 2\sqrt3 \approx 3.46 says both, where they are about the same. */
function approximations(answer: Answer): Answer[] | undefined {
  if (answer.kind !== 'relation' || answer.operators.at(-1) !== '\\approx') return undefined;
  const [exact, decimal] = answer.parts.slice(-2);
  if (exact.kind !== 'scalar' || decimal.kind !== 'scalar' || !aboutEqual(exact.scalar, decimal.scalar))
    return undefined;
  const [operators, parts, latex] = [answer.operators, answer.parts, answer.latex].map((each) => each.slice(0, -1));
  const before = { kind: 'relation', operators, parts, latex } as Of<'relation'>;
  return [parts.length === 1 ? exact : before, decimal];
}

/** Sets of one and the like are what they hold; membership of a set is the set. */
function simple(answer: Answer): Answer {
  if (answer.kind === 'relation' && answer.operators.includes('\\approx'))
    return simple({ ...answer, operators: answer.operators.map((each) => (each === '\\approx' ? '=' : each)) });
  if (answer.kind === 'relation' && answer.operators.length === 1 && answer.operators[0] === '\\in')
    return simple(answer.parts[1]);
  if (answer.kind === 'set' && answer.items.length === 1) return simple(answer.items[0]);
  if (answer.kind === 'scalar' && sameText(answer.scalar.latex, '\\emptyset')) return { kind: 'set', items: [] };
  if (answer.kind === 'scalar' && sameText(answer.scalar.latex, '\\mathbb{R}')) return LINE;
  if (answer.kind === 'text' && /^(?:all real numbers|all reals|x in r)$/.test(answer.text)) return LINE;
  return answer;
}

const infinite = (latex: string): Answer => ({ kind: 'scalar', scalar: new Scalar(latex) });
const LINE: Answer = { kind: 'tuple', open: '(', close: ')', items: [infinite('-\\infty'), infinite('\\infty')] };

const isNumber = (a: Answer): a is Of<'scalar' | 'percent' | 'degrees'> =>
  a.kind === 'scalar' || a.kind === 'percent' || a.kind === 'degrees';
const isSeveral = (a: Answer): a is Of<'list' | 'set'> => a.kind === 'list' || a.kind === 'set';

/** x = 1, 2 says x of both; x = 1 or x = 3 says no more than 1, 3. */
function itemsOf(a: Answer): Answer[] {
  if (!isSeveral(a)) return flat([simple(a)]);
  const { items } = a;
  const named = items.map((item) => (item.kind === 'relation' ? definition(item) : undefined));
  const names = new Set(named.flatMap((part) => (part ? [part.name] : [])));
  const one = names.size === 1 && items.every((item, i) => named[i] || item.kind !== 'relation');
  return flat(one ? items.map((item, i) => named[i]?.value ?? item) : items);
}

/** Lists in a list, as 3 \pm 1, 5 makes them. */
const flat = (items: Answer[]): Answer[] =>
  items.flatMap((item) => (item.kind === 'list' && items.length > 1 ? flat(item.items) : [item]));

/** In any order. */
function sameItems(gold: readonly Answer[], answer: readonly Answer[]): boolean {
  if (gold.length !== answer.length) return false;
  const left = [...answer];
  return gold.every((item) => {
    const found = left.findIndex((other) => sameAnswer(item, other));
    if (found >= 0) left.splice(found, 1);
    return found >= 0;
  });
}

const inOrder = (gold: readonly Answer[], answer: readonly Answer[]) =>
  gold.length === answer.length && gold.every((item, i) => sameAnswer(item, answer[i]));

function sameLong(a: Answer, b: Answer): boolean {
  const [tuple, other] = a.kind === 'tuple' ? [a, b] : [b as Of<'tuple'>, a];
  if (other.kind !== 'list' || tuple.items.length < 3 || tuple.open !== '(') return false;
  return a === tuple ? inOrder(tuple.items, other.items) : inOrder(other.items, tuple.items);
}

/** x = 1, y = 2 for (1, 2). */
function coordinates(a: Answer, b: Answer): boolean | undefined {
  if (a.kind !== 'tuple' || b.kind !== 'list') return undefined;
  const named = b.items.map((item) => (item.kind === 'relation' ? definition(item) : undefined));
  if (named.some((part) => !part) || new Set(named.map((part) => part!.name)).size !== named.length) return undefined;
  return inOrder(
    a.items,
    named.map((part) => part!.value),
  );
}

function sameNumbers(a: Of<'scalar' | 'percent' | 'degrees'>, b: Of<'scalar' | 'percent' | 'degrees'>): boolean {
  if (a.kind === b.kind) return equalScalars(a.scalar, b.scalar);
  if (a.kind === 'percent' || b.kind === 'percent') {
    const [percent, other] = a.kind === 'percent' ? [a, b] : [b, a];
    if (other.kind !== 'scalar') return false;
    const value = new Scalar(`\\frac{${percent.scalar.latex}}{100}`);
    // 25% for 25: the question asks for percent. A fraction of one is not given in percent by mistake.
    const large = Math.abs(percent.scalar.values?.exact?.valueOf() ?? 0) >= 1;
    return equalScalars(value, other.scalar) || (large && equalScalars(percent.scalar, other.scalar));
  }
  const [degrees, other] = a.kind === 'degrees' ? [a, b] : [b, a];
  const radians = degrees.scalar.call('Degrees');
  return equalScalars(degrees.scalar, other.scalar) || (!!radians && equalScalars(radians, other.scalar));
}

/** Words for words. */
function sameTexts(a: Answer, b: Answer): boolean {
  const x = plain(a);
  return !!x && x.toLowerCase() === plain(b)?.toLowerCase();
}

function plain(a: Answer): string | undefined {
  if (a.kind === 'text') return a.text;
  return isNumber(a) ? a.scalar.latex.replace(/\s+/g, ' ').trim() : undefined;
}

/** A column is a vector; a row of a matrix is not a column. */
function sameMatrices(a: Answer, b: Answer): boolean {
  const x = rowsOf(a);
  const y = rowsOf(b);
  return !!x && !!y && x.length === y.length && x.every((row, i) => inOrder(row, y[i]));
}

function rowsOf(a: Answer): Answer[][] | undefined {
  if (a.kind === 'matrix') return a.rows;
  if (a.kind === 'tuple' && a.open === '(' && a.close === ')') return a.items.map((item) => [item]);
  return isNumber(a) ? [[a]] : undefined;
}

/** 2:4 is 1:2; of two terms it is their quotient. */
function sameRatios(a: Answer, b: Answer): boolean {
  const x = termsOf(a);
  const y = termsOf(b);
  if (!x || !y || x.length !== y.length) return false;
  // By a term that is not 0: 0:0 is no ratio, and would be the same as every other.
  const k = x.findIndex((term) => !isZero(term));
  if (k < 0 || isZero(y[k])) return false;
  const times = (p: Scalar, q: Scalar) => new Scalar(`(${p.latex})\\cdot(${q.latex})`);
  return x.every((term, i) => equalScalars(times(term, y[k]), times(y[i], x[k])));
}

const ZERO = new Scalar('0');
/** What is not understood may be 0. */
const isZero = (a: Scalar) => !a.expression || equalScalars(a, ZERO);

function termsOf(a: Answer): Scalar[] | undefined {
  if (a.kind === 'scalar') return [a.scalar, new Scalar('1')];
  if (a.kind !== 'ratio') return undefined;
  const terms = a.items.flatMap((item) => (item.kind === 'scalar' ? [item.scalar] : []));
  return terms.length === a.items.length ? terms : undefined;
}

/** The base may be left out where the gold answer names it. */
function sameBased(gold: Answer, answer: Answer): boolean {
  if (gold.kind === 'based' && answer.kind === 'based')
    return gold.digits === answer.digits && gold.base === answer.base;
  const [based, other] = gold.kind === 'based' ? [gold, answer] : [answer as Of<'based'>, gold];
  if (!isNumber(other) && other.kind !== 'text') return false;
  const same = plain(other)?.toUpperCase() === based.digits;
  return same && (gold.kind === 'based' || based.base === '10');
}

const FLIPPED: Record<string, string> = { '<': '>', '>': '<', '\\le': '\\ge', '\\ge': '\\le' };

function sameRelations(a: Answer, b: Answer): boolean {
  if (a.kind === 'relation' && b.kind === 'relation') {
    const x = upward(a);
    const y = upward(b);
    if (samePairs(x, y) || (isEquations(x) && isEquations(y) && samePairs(x, turned(y)))) return true;
    const p = definition(x);
    const q = definition(y);
    // f(x) = 2x and y = 2x define the same function; x = 5 and y = 5 say different things.
    return !!p && !!q && (p.name === q.name || p.applied || q.applied) && sameAnswer(p.value, q.value);
  }
  if (a.kind === 'relation') {
    const value = definition(a)?.value;
    if (value && sameAnswer(value, b)) return true;
    const interval = intervalOf(a);
    return !!interval && sameAnswer(interval, b);
  }
  const value = definition(b as Of<'relation'>)?.value ?? trueValue(b as Of<'relation'>);
  return !!value && sameAnswer(a, value);
}

const turned = ({ parts, operators, latex }: Of<'relation'>): Of<'relation'> => ({
  kind: 'relation',
  operators: operators.map((operator) => FLIPPED[operator] ?? operator).reverse(),
  parts: [...parts].reverse(),
  latex: [...latex].reverse(),
});

/** Chains of > are read from right to left. */
const upward = (a: Of<'relation'>): Of<'relation'> =>
  a.operators.every((operator) => operator === '>' || operator === '\\ge') ? turned(a) : a;

const isEquations = (a: Of<'relation'>) => a.operators.every((operator) => operator === '=' || operator === '\\ne');

function samePairs(a: Of<'relation'>, b: Of<'relation'>): boolean {
  if (a.operators.length !== b.operators.length) return false;
  return a.operators.every((operator, i) =>
    samePair(operator, a.parts[i], a.parts[i + 1], b.operators[i], b.parts[i], b.parts[i + 1]),
  );
}

function samePair(
  operator: string,
  left: Answer,
  right: Answer,
  other: string,
  otherLeft: Answer,
  otherRight: Answer,
): boolean {
  if (operator === other && sameAnswer(left, otherLeft) && sameAnswer(right, otherRight)) return true;
  if (operator !== other && operator !== FLIPPED[other]) return false;
  if (![left, right, otherLeft, otherRight].every((part) => part.kind === 'scalar')) return false;
  const difference = (p: Answer, q: Answer) => (p as Of<'scalar'>).scalar.minus((q as Of<'scalar'>).scalar);
  const x = difference(left, right);
  const y = difference(otherLeft, otherRight);
  const factor = x && y ? constantFactor(x, y) : 0;
  if (operator === '=' || operator === '\\ne') return factor !== 0;
  return FLIPPED[operator] !== undefined && factor === (operator === other ? 1 : -1);
}

/** x = 5 as a name and what it stands for; of a chain of equations, what it ends in. */
function definition(a: Of<'relation'>): { name: string; applied: boolean; value: Answer } | undefined {
  if (!a.operators.every((operator) => operator === '=')) return undefined;
  const last = a.parts.length - 1;
  const [first] = a.latex;
  const named = isName(first) || !isName(a.latex[last]) ? first : a.latex[last];
  if (!isName(named)) return undefined;
  const at = named === first ? last : 0;
  const value = a.parts[at];
  // x = 5 = 6 says nothing.
  const between = a.parts.slice(1, -1);
  if (!between.every((part) => !isConstant(part) || sameAnswer(value, part))) return undefined;
  return { name: named.replace(/\s+/g, ''), applied: /\(/.test(named), value };
}

const isConstant = (part: Answer) => part.kind === 'scalar' && part.scalar.values?.symbols.size === 0;

/** Something that is looked for: no number in it but as an index or an argument, or f(3). */
function isName(latex: string): boolean {
  const bare = latex.replace(/_\s*(?:\{[^{}]*\}|\w)/g, '').replace(/\^\s*\{\s*-1\s*\}|'/g, '');
  if (/^\\text\{[^{}]*\}$/.test(bare)) return true;
  if (/^\s*-/.test(bare)) return false;
  return !/\d/.test(/^\s*(?:\\?[a-zA-Z]+)\s*\(([^()]*)\)\s*$/.test(bare) ? 'f' : bare) && /[a-zA-Z]/.test(bare);
}

/** 2 + 3 = 5 says 5. */
function trueValue(a: Of<'relation'>): Answer | undefined {
  if (!a.operators.every((operator) => operator === '=')) return undefined;
  const last = a.parts[a.parts.length - 1];
  const holds = a.parts.every((part) => isConstant(part) && sameAnswer(last, part));
  return holds ? last : undefined;
}

/** A name whose values an inequality bounds as they are: no |x|, no x^n. */
const isVariable = (latex: string) => isName(latex) && !/[|^]/.test(latex);

/** The interval of a gold inequality: (-2, 5] for -2 < x <= 5. */
function intervalOf(a: Of<'relation'>): Answer | undefined {
  const { operators, parts, latex } = upward(a);
  const tuple = (open: string, low: Answer, high: Answer, close: string): Answer => ({
    ...{ kind: 'tuple', open, close },
    items: [low, high],
  });
  const open = (operator: string) => (operator === '<' ? '(' : '[');
  const close = (operator: string) => (operator === '<' ? ')' : ']');
  if (
    operators.length === 2 &&
    operators.every((operator) => operator === '<' || operator === '\\le') &&
    isVariable(latex[1])
  )
    return tuple(open(operators[0]), parts[0], parts[2], close(operators[1]));
  if (operators.length !== 1) return undefined;
  const [operator] = operators;
  if (operator === '\\ne' && isVariable(latex[0]))
    return {
      ...{ kind: 'union', operator: '\\cup' },
      items: [tuple('(', infinite('-\\infty'), parts[1], ')'), tuple('(', parts[1], infinite('\\infty'), ')')],
    };
  if (operator !== '<' && operator !== '\\le') return undefined;
  if (isVariable(latex[0])) return tuple('(', infinite('-\\infty'), parts[1], close(operator));
  return isVariable(latex[1]) ? tuple(open(operator), parts[0], infinite('\\infty'), ')') : undefined;
}
