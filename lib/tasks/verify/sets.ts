import { isName } from './names.js';
import { equalScalars, Scalar } from './scalar.js';
import type { Answer } from './structure.js';

/** Real numbers from low to high; the ends may belong to it. */
interface Interval {
  low: End;
  high: End;
}
interface End {
  scalar: Scalar;
  at: number;
  closed: boolean;
}

/** A set of real numbers as intervals that do not touch, and the name that was given to its members, if one was. */
export interface RealSet {
  intervals: Interval[];
  name: string;
}

const end = (scalar: Scalar, closed: boolean): End | undefined => {
  const at = realOf(scalar);
  return at === undefined ? undefined : { scalar, at, closed: closed && Number.isFinite(at) };
};
const infinite = (sign: 1 | -1): End => ({
  scalar: new Scalar(sign > 0 ? '\\infty' : '-\\infty'),
  at: sign * Infinity,
  closed: false,
});
const LINE: Interval = { low: infinite(-1), high: infinite(1) };

function realOf({ values }: Scalar): number | undefined {
  if (!values) return undefined;
  if (values.infinite) return values.infinite * Infinity;
  const found = values.symbols.size === 0 ? values.complex(0) : null;
  return found && Math.abs(found.value.im) <= found.error ? found.value.re : undefined;
}

/**
 * The set that an answer says: intervals, their unions and differences, inequalities, x \ne 1; undefined for others.
 */
export function realSet(answer: Answer): RealSet | undefined {
  const intervals = intervalsOf(answer);
  return intervals && intervals.intervals.length > 0 ? intervals : undefined;
}

function intervalsOf(answer: Answer): RealSet | undefined {
  switch (answer.kind) {
    case 'tuple':
      return ofTuple(answer);
    case 'relation':
      return ofRelation(answer);
    case 'union':
      return ofUnion(answer.operator, answer.items);
    case 'list':
      return isCondition(answer) ? ofConditions(answer) : undefined;
    case 'text':
      return /^(?:all real numbers|all reals|x in r)$/.test(answer.text) ? { intervals: [LINE], name: '' } : undefined;
    case 'scalar':
      return /^\\mathbb\s*\{\s*R\s*\}$/.test(answer.scalar.latex.trim()) ? { intervals: [LINE], name: '' } : undefined;
    default:
      return undefined;
  }
}

/** Inequalities; of brackets in a list, those that are no points. */
const isCondition = ({ items, or }: Extract<Answer, { kind: 'list' | 'set' }>): boolean =>
  items.every((item) => item.kind === 'relation') ||
  (!!or && items.every((item) => item.kind === 'tuple') && items.some(isInterval));
const isInterval = (item: Answer) =>
  item.kind === 'tuple' &&
  (item.open === '[' ||
    item.close === ']' ||
    item.items.some((each) => each.kind === 'scalar' && each.scalar.values?.infinite));

function ofTuple({ open, close, items }: Extract<Answer, { kind: 'tuple' }>): RealSet | undefined {
  const [low, high] = items;
  if (items.length !== 2 || low.kind !== 'scalar' || high.kind !== 'scalar') return undefined;
  return between(end(low.scalar, open === '['), end(high.scalar, close === ']'), '');
}

function between(low: End | undefined, high: End | undefined, name: string): RealSet | undefined {
  return low && high && low.at < high.at ? { intervals: [{ low, high }], name } : undefined;
}

const UPWARD: Record<string, boolean> = { '<': false, '\\le': true };
const FLIPPED: Record<string, string> = { '>': '<', '\\ge': '\\le' };

function ofRelation({ operators, parts, latex }: Extract<Answer, { kind: 'relation' }>): RealSet | undefined {
  const bars = /^\s*\|\s*([^|]+?)\s*\|\s*$/.exec(latex[0]);
  if (bars && operators.length === 1 && isName(bars[1]) && parts[1].kind === 'scalar')
    return ofDistance(bars[1], operators[0], parts[1].scalar);
  if (operators.every((operator) => FLIPPED[operator])) {
    const flipped = {
      operators: operators.map((operator) => FLIPPED[operator]).reverse(),
      latex: [...latex].reverse(),
    };
    return ofRelation({ kind: 'relation', parts: [...parts].reverse(), ...flipped });
  }
  const value = (k: number, closed: boolean) => {
    const part = parts[k];
    return part.kind === 'scalar' ? end(part.scalar, closed) : undefined;
  };
  const [operator] = operators;
  const isVariable = (k: number) => isName(latex[k]) && !latex[k].includes('|');
  if (operators.length === 2 && operators.every((each) => each in UPWARD) && isVariable(1))
    return between(value(0, UPWARD[operators[0]]), value(2, UPWARD[operators[1]]), latex[1]);
  if (operators.length !== 1) return undefined;
  if (operator === '\\in' && isVariable(0)) {
    const found = intervalsOf(parts[1]);
    return found && { ...found, name: latex[0] };
  }
  if (operator === '\\ne' && isVariable(0)) {
    const values = parts[1].kind === 'list' ? parts[1].items : [parts[1]];
    const points = pointsOf(values);
    return points && { intervals: minus([LINE], points), name: latex[0] };
  }
  if (!(operator in UPWARD)) return undefined;
  if (isVariable(0)) return between(infinite(-1), value(1, UPWARD[operator]), latex[0]);
  return isVariable(1) ? between(value(0, UPWARD[operator]), infinite(1), latex[1]) : undefined;
}

/** |x| < 2 is -2 < x < 2, and |x| > 2 the rest. */
function ofDistance(name: string, operator: string, bound: Scalar): RealSet | undefined {
  const closed = operator === '\\le' || operator === '>';
  const [low, high] = [end(new Scalar(`-(${bound.latex})`), closed), end(bound, closed)];
  const inside = between(low, high, name);
  if (!inside || !/^(?:[<>]|\\[lg]e)$/.test(operator)) return undefined;
  return operator in UPWARD ? inside : { intervals: minus([LINE], inside.intervals), name };
}

function ofUnion(operator: string, items: readonly Answer[]): RealSet | undefined {
  // A set of numbers is made of points.
  const sets = items.map((item, k): RealSet | undefined => {
    if (item.kind !== 'set' || (k === 0 && operator !== '\\cup')) return intervalsOf(item);
    const intervals = pointsOf(item.items);
    return intervals && { intervals, name: '' };
  });
  return combined(sets, operator === '\\cup' ? union : operator === '\\cap' ? intersection : minus);
}

/** Where no number fulfils all conditions, each is meant. */
function ofConditions({ items, or }: Extract<Answer, { kind: 'list' | 'set' }>): RealSet | undefined {
  const sets = items.map(intervalsOf);
  const all = or ? undefined : combined(sets, intersection);
  return all && all.intervals.length > 0 ? all : combined(sets, union);
}

function pointsOf(values: readonly Answer[]): Interval[] | undefined {
  const points = values.flatMap((each) => (each.kind === 'scalar' ? (end(each.scalar, true) ?? []) : []));
  return points.length === values.length ? points.map((point) => ({ low: point, high: point })) : undefined;
}

function combined(
  sets: readonly (RealSet | undefined)[],
  combine: (a: Interval[], b: Interval[]) => Interval[],
): RealSet | undefined {
  const [first, ...others] = sets;
  if (!first || others.some((other) => !other)) return undefined;
  const names = new Set(sets.map((set) => set!.name).filter(Boolean));
  if (names.size > 1) return undefined;
  return {
    intervals: others.reduce((all, other) => combine(all, other!.intervals), union(first.intervals, [])),
    name: [...names][0] ?? '',
  };
}

/** Whether the end of one interval leaves no gap to the begin of the next. */
const touch = (a: End, b: End) => b.at < a.at || (b.at === a.at && (a.closed || b.closed));
const further = (a: End, b: End) => (a.at > b.at || (a.at === b.at && a.closed) ? a : b);
const isEmpty = ({ low, high }: Interval) => low.at > high.at || (low.at === high.at && !(low.closed && high.closed));

function union(a: Interval[], b: Interval[]): Interval[] {
  const sorted = [...a, ...b].sort((x, y) => x.low.at - y.low.at || Number(y.low.closed) - Number(x.low.closed));
  const result: Interval[] = [];
  for (const next of sorted) {
    const last = result[result.length - 1];
    if (last && touch(last.high, next.low)) last.high = further(last.high, next.high);
    else result.push({ ...next });
  }
  return result;
}

const intersection = (a: Interval[], b: Interval[]): Interval[] =>
  a.flatMap((x) =>
    b.flatMap((y) => {
      const low = x.low.at > y.low.at || (x.low.at === y.low.at && !x.low.closed) ? x.low : y.low;
      const high = x.high.at < y.high.at || (x.high.at === y.high.at && !x.high.closed) ? x.high : y.high;
      return isEmpty({ low, high }) ? [] : [{ low, high }];
    }),
  );

const minus = (a: Interval[], b: Interval[]): Interval[] => b.reduce(difference, a);

function difference(all: Interval[], { low, high }: Interval): Interval[] {
  const outside = [
    { low: LINE.low, high: { ...low, closed: !low.closed && Number.isFinite(low.at) } },
    { low: { ...high, closed: !high.closed && Number.isFinite(high.at) }, high: LINE.high },
  ];
  return intersection(all, outside);
}

/** Whether two sets have the same members. */
export const sameSets = (gold: RealSet, answer: RealSet): boolean =>
  (!gold.name || !answer.name || gold.name.replace(/\s/g, '') === answer.name.replace(/\s/g, '')) &&
  gold.intervals.length === answer.intervals.length &&
  gold.intervals.every(
    ({ low, high }, k) => sameEnds(low, answer.intervals[k].low) && sameEnds(high, answer.intervals[k].high),
  );

const sameEnds = (a: End, b: End) => a.closed === b.closed && equalScalars(a.scalar, b.scalar);
