import { isFunction, isName, letterOf, plainName } from './names.js';
import { constantFactor, equalScalars, isRounding, Scalar, sameText } from './scalar.js';
import { realSet, sameSets } from './sets.js';
import type { Answer } from './structure.js';
import { tokenize } from './tokens.js';

type Of<K extends Answer['kind']> = Extract<Answer, { kind: K }>;

/** Whether an answer says what the gold answer says, kind by kind. */
export function sameAnswer(gold: Answer, answer: Answer): boolean {
  const [said, stated] = [approximation(gold), approximation(answer)];
  if (said || stated)
    return (said ?? [gold]).some((one) => (stated ?? [answer]).some((other) => sameAnswer(one, other)));
  const a = simple(gold);
  const b = simple(answer);
  const [p, q] = a.kind === 'tuple' && b.kind === 'tuple' ? [] : [realSet(a), realSet(b)];
  if (p && q) return sameSets(p, q);
  if (a.kind === 'relation' || b.kind === 'relation') return sameRelations(a, b);
  if (a.kind === 'family' || b.kind === 'family') return sameFamilies(a, b);
  if (a.kind === 'clock' || b.kind === 'clock') return sameClocks(a, b);
  if (isSeveral(a) || isSeveral(b)) return sameSeveral(a, b);
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

/**
 * 2\sqrt3 \approx 3.46 says both, where the decimal rounds what stands before it. Other approximations say nothing, but
 * that a name has about a value. undefined: none of them.
 */
function approximation(answer: Answer): Answer[] | undefined {
  if (answer.kind !== 'relation' || !answer.operators.includes('\\approx')) return undefined;
  const { operators, parts, latex } = answer;
  if (!parts.some((part, k) => isValue(part) && k > 0) || isNamed(answer)) return undefined;
  const last = parts.length - 1;
  if (operators.some((operator, k) => operator !== (k === last - 1 ? '\\approx' : '='))) return [];
  const before: Answer =
    last === 1
      ? parts[0]
      : { kind: 'relation', operators: operators.slice(0, -1), parts: parts.slice(0, -1), latex: latex.slice(0, -1) };
  if (rounds(parts[last - 1], parts[last])) return [before, parts[last]];
  return last === 1 && rounds(parts[1], parts[0]) ? parts : [];
}

const isValue = (part: Answer) => isNumber(part) && part.scalar.values?.symbols.size === 0;

/** x \approx 3.14: a name, and about what it is. */
const isNamed = ({ operators, latex, parts }: Of<'relation'>) =>
  operators.length === 1 && isName(latex[0]) && !isValue(parts[0]);

function rounds(exact: Answer, decimal: Answer): boolean {
  if (exact.kind !== 'scalar' || !isNumber(decimal)) return false;
  if (decimal.kind === 'scalar') return isRounding(exact.scalar, decimal.scalar);
  const percent = decimal.kind === 'percent' && exact.scalar.call('Multiply', new Scalar('100'));
  return !!percent && isRounding(percent, decimal.scalar);
}

/** Sets of one and the like are what they hold; membership of a set is the set; (x, y) = (1, 2) is x = 1, y = 2. */
function simple(answer: Answer): Answer {
  if (answer.kind === 'relation' && answer.operators.length === 1) {
    const [operator] = answer.operators;
    if (operator === '\\approx' && isNamed(answer)) return { ...answer, operators: ['='] };
    if (
      (operator === '\\in' && isNameOrNames(answer.latex[0], answer.parts[0])) ||
      (operator === '\\equiv' && isName(answer.latex[0]))
    )
      return simple(answer.parts[1]);
    const [left, right] = answer.parts;
    if (operator === '=' && left.kind === 'tuple' && right.kind === 'tuple') return byName(left, right) ?? answer;
  }
  if (answer.kind === 'set' && answer.items.length === 1 && !isEmptySet(answer.items[0]))
    return simple(answer.items[0]);
  return isEmptySet(answer) ? { kind: 'set', items: [] } : answer;
}

const isNameOrNames = (latex: string, part: Answer): boolean =>
  part.kind === 'tuple'
    ? part.items.every((item) => item.kind === 'scalar' && isName(item.scalar.latex))
    : isName(latex);

const isEmptySet = (answer: Answer) =>
  (answer.kind === 'scalar' && sameText(answer.scalar.latex, '\\emptyset')) ||
  (answer.kind === 'set' && answer.items.length === 0);

function byName(names: Of<'tuple'>, values: Of<'tuple'>): Answer | undefined {
  const latex = names.items.map((item) => (item.kind === 'scalar' ? item.scalar.latex : ''));
  if (names.items.length !== values.items.length || !latex.every(isName)) return undefined;
  const relation = (k: number): Answer => {
    const value = values.items[k];
    const right = isNumber(value) ? value.scalar.latex : '';
    return { kind: 'relation', operators: ['='], parts: [names.items[k], value], latex: [latex[k], right] };
  };
  return { kind: 'list', items: latex.map((_, k) => relation(k)) };
}

const isNumber = (a: Answer): a is Of<'scalar' | 'percent' | 'degrees'> =>
  a.kind === 'scalar' || a.kind === 'percent' || a.kind === 'degrees';
const isSeveral = (a: Answer): a is Of<'list' | 'set'> => a.kind === 'list' || a.kind === 'set';

function sameSeveral(a: Answer, b: Answer): boolean {
  const named = coordinates(a, b) ?? coordinates(b, a);
  if (named !== undefined) return named;
  // (1, 2, 3) without its brackets; of two it could be an interval.
  if (a.kind === 'tuple' || b.kind === 'tuple') return isSeveral(a) && isSeveral(b) ? false : sameLong(a, b);
  const [gold, answer] = [itemsOf(a), itemsOf(b)];
  if (gold.name !== undefined && answer.name !== undefined)
    return gold.name === answer.name && sameItems(gold.values, answer.values);
  const [x, y] = valuesOf(gold, answer);
  // Values without the names of the gold answer stand in its order.
  return (isOrdered(x) && !y.some(definitionOf) ? inOrder : sameItems)(x, y);
}

const definitionOf = (item: Answer) => (item.kind === 'relation' ? definition(item) : undefined);

/** x = 2, y = 3, but not x_1 = 2, x_2 = 3: each item has a name of its own. */
function isOrdered(items: readonly Answer[]): boolean {
  const names = items.map((item) => definitionOf(item)?.name.replace(/_.*/, ''));
  return items.length > 1 && !names.includes(undefined) && new Set(names).size === names.length;
}

interface Items {
  /** As they are said. */
  all: Answer[];
  /** Without the name that they have in common: x = 1, 2 says x of both. */
  values: Answer[];
  name?: string;
}

function itemsOf(a: Answer): Items {
  const all = flat(isSeveral(a) ? a.items : [simple(a)]);
  const named = all.map(definitionOf);
  const names = new Set(named.flatMap((part) => (part ? [part.name] : [])));
  if (!isSeveral(a) || names.size !== 1 || !all.every((item, i) => named[i] || item.kind !== 'relation'))
    return { all, values: all };
  return { all, values: flat(all.map((item, i) => named[i]?.value ?? item)), name: [...names][0] };
}

/** What is compared of two lists, of which one at most has a name in common. */
function valuesOf(gold: Items, answer: Items): [Answer[], Answer[]] {
  const name = gold.name ?? answer.name;
  const other = gold.name === undefined ? gold : answer;
  const named = other.all.map(definitionOf);
  if (name === undefined || !named.some(Boolean)) return [gold.values, answer.values];
  // x = 1, 2 and x_1 = 1, x_2 = 2 are values of x both.
  if (!named.every((part) => part?.name.replace(/_.*/, '') === name)) return [gold.all, answer.all];
  const values = named.map((part) => part!.value);
  return other === gold ? [values, answer.values] : [gold.values, values];
}

/** Lists in a list, as 3 \pm 1, 5 makes them; not the points of x = 1, y = 2 or x = 3, y = 4. */
function flat(items: readonly Answer[]): Answer[] {
  const points = items.length > 1 && items.every((item) => item.kind === 'list' && isOrdered(item.items));
  return points
    ? [...items]
    : items.flatMap((item) => (item.kind === 'list' && items.length > 1 ? flat(item.items) : [item]));
}

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
  const named = b.items.map(definitionOf);
  if (named.some((part) => !part) || new Set(named.map((part) => part!.name)).size !== named.length) return undefined;
  return inOrder(
    a.items,
    named.map((part) => part!.value),
  );
}

function sameNumbers(
  gold: Of<'scalar' | 'percent' | 'degrees'>,
  answer: Of<'scalar' | 'percent' | 'degrees'>,
): boolean {
  if (gold.kind === answer.kind) return equalScalars(gold.scalar, answer.scalar);
  if (gold.kind === 'percent' || answer.kind === 'percent') return samePercent(gold, answer);
  const [degrees, other] = gold.kind === 'degrees' ? [gold, answer] : [answer, gold];
  if (equalScalars(gold.scalar, answer.scalar)) return true;
  const radians = degrees.scalar.call('Degrees');
  if (!radians) return false;
  return gold === degrees ? equalScalars(radians, other.scalar) : equalScalars(other.scalar, radians);
}

/**
 * 25% for 25: the question asks for percent. It is also 0.25, but no integer except 0 and 1: 500% for 5 would let 500%
 * be right for 500 and for 5. A fraction of one is not given in percent by mistake.
 */
function samePercent(
  gold: Of<'scalar' | 'percent' | 'degrees'>,
  answer: Of<'scalar' | 'percent' | 'degrees'>,
): boolean {
  const [percent, other] = gold.kind === 'percent' ? [gold, answer] : [answer, gold];
  if (other.kind !== 'scalar') return false;
  const equal = (p: Scalar, o: Scalar) => (percent === gold ? equalScalars(p, o) : equalScalars(o, p));
  const large = Math.abs(percent.scalar.values?.exact?.valueOf() ?? 0) >= 1;
  if (large && equal(percent.scalar, other.scalar)) return true;
  const value = other.scalar.values?.exact;
  if (other === gold && value?.d === 1n && value.n > 1n) return false;
  const hundredfold = other.scalar.call('Multiply', new Scalar('100'));
  return !!hundredfold && equal(percent.scalar, hundredfold);
}

const sameFamilies = (a: Answer, b: Answer) =>
  a.kind === 'family' &&
  b.kind === 'family' &&
  sameAnswer(a.element, b.element) &&
  sameAnswer(a.conditions, b.conditions);

/** Times of day are the same if their halves of the day are, or one does not say it. */
function sameClocks(a: Answer, b: Answer): boolean {
  if (a.kind !== 'clock' || b.kind !== 'clock') return false;
  const halves = [a.half, b.half];
  const same = a.half.toLowerCase() === b.half.toLowerCase() || (halves.includes('') && !/[AP]/.test(halves.join('')));
  return a.seconds === b.seconds && same;
}

/** Words for words. */
function sameTexts(a: Answer, b: Answer): boolean {
  const [x, y] = [plain(a), plain(b)].map((text) => text?.replace(/[a-zA-Z]{2,}/g, (word) => word.toLowerCase()));
  return !!x && x === y;
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
  // Written in another base, a number is what it is in base ten.
  if (gold.kind === 'scalar' && other.kind === 'scalar' && inBaseTen(based) === gold.scalar.values?.exact?.toString())
    return true;
  const same = plain(other)?.toUpperCase() === based.digits;
  return same && (gold.kind === 'based' || based.base === '10');
}

function inBaseTen({ digits, base }: Of<'based'>): string | undefined {
  const b = /^\d+$/.test(base) ? Number(base) : 0;
  const values = [...digits].map((digit) => Number.parseInt(digit, 36));
  if (b < 2 || b > 36 || !values.every((value) => value < b)) return undefined;
  return values.reduce((sum, value) => sum * BigInt(b) + BigInt(value), 0n).toString();
}

const FLIPPED: Record<string, string> = { '<': '>', '>': '<', '\\le': '\\ge', '\\ge': '\\le' };

function sameRelations(a: Answer, b: Answer): boolean {
  if (a.kind === 'relation' && b.kind === 'relation') {
    const x = upward(a);
    const y = upward(b);
    const p = definition(x);
    const q = definition(y);
    // The values of one name decide: their difference may vanish in what stands beside it.
    if (p && q && p.name === q.name) return sameAnswer(p.value, q.value);
    if (samePairs(x, y) || (isEquations(x) && isEquations(y) && samePairs(x, turned(y)))) return true;
    // f(x) = 2x and y = 2x define the same function; x = 5 and y = 5 say different things.
    return (
      !!p && !!q && isFunction(p.latex) !== isFunction(q.latex) && areFunctions(p, q) && sameAnswer(p.value, q.value)
    );
  }
  if (a.kind === 'relation') {
    const value = definition(a)?.value;
    return !!value && sameAnswer(value, b);
  }
  const relation = b as Of<'relation'>;
  const value = definition(relation)?.value ?? trueValue(relation) ?? quantity(relation);
  return !!value && sameAnswer(a, value);
}

/** One is f(x), and the other a letter that is not x. */
function areFunctions(p: Definition, q: Definition): boolean {
  const [applied, bare] = isFunction(p.latex) ? [p, q] : [q, p];
  return /^[a-zA-Z]$/.test(bare.name) && !applied.name.includes(`(${bare.name})`);
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

interface Definition {
  name: string;
  latex: string;
  value: Answer;
}

/** x = 5 as a name and what it stands for; of a chain of equations, what it ends in. */
function definition(a: Of<'relation'>): Definition | undefined {
  if (!a.operators.every((operator) => operator === '=')) return undefined;
  const last = a.parts.length - 1;
  const [first] = a.latex;
  const named = isName(first) || !isName(a.latex[last]) ? first : a.latex[last];
  if (!isName(named)) return undefined;
  const at = named === first ? last : 0;
  const value = a.parts[at];
  // x = 2x + 1 defines nothing.
  if (holds(a.latex[at], named)) return undefined;
  // x = 5 = 6 says nothing.
  const between = a.parts.slice(1, -1);
  // x = 5 y = 6 are two equations.
  if (a.latex.slice(1, -1).some((part) => /^-?\s*[\d.]+\s+\\?[a-zA-Z]/.test(part))) return undefined;
  if (!between.every((part) => !isConstant(part) || sameAnswer(value, part))) return undefined;
  return { name: plainName(named), latex: named, value };
}

/** Whether a formula holds the symbol of a name; one of several characters as it is spelled. */
function holds(latex: string, name: string): boolean {
  const symbol = plainName(letterOf(name)).replace(/'+$/, '');
  return symbol.length === 1 ? tokenize(latex).includes(symbol) : plainName(latex).includes(symbol);
}

const symbolsOf = (part: Answer): ReadonlySet<string> =>
  (isNumber(part) && part.scalar.values?.symbols) || new Set<string>();
const isConstant = (part: Answer) => part.kind === 'scalar' && part.scalar.values?.symbols.size === 0;

/** x + y = 5 is the value of a quantity of several symbols; 2x = 5 is not the value of x. */
function quantity(a: Of<'relation'>): Answer | undefined {
  const [left, ...values] = a.parts;
  const value = values[values.length - 1];
  if (/\d/.test(a.latex[0].replace(/[_^]\s*(?:\{[^{}]*\}|\w)/g, ''))) return undefined;
  if (!a.operators.every((operator) => operator === '=') || symbolsOf(left).size < 2) return undefined;
  return values.every((part) => isConstant(part) && sameAnswer(value, part)) ? value : undefined;
}

/** 2 + 3 = 5 says 5. */
function trueValue(a: Of<'relation'>): Answer | undefined {
  if (!a.operators.every((operator) => operator === '=')) return undefined;
  const last = a.parts[a.parts.length - 1];
  const holds = a.parts.every((part) => isConstant(part) && sameAnswer(last, part));
  return holds ? last : undefined;
}
