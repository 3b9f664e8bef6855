// Arithmetic, comparison and membership.
import { repr } from './text.js';
import {
  Dict,
  DictView,
  equals,
  isNumber,
  iterate,
  limitedInt,
  MOST_ITEMS,
  numberOf,
  order,
  TemplateError,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** Most characters of a text that +, ~ or * makes. */
const MOST_CHARACTERS = 1 << 24;

export function limitedText(text: string): string {
  if (text.length > MOST_CHARACTERS) throw new TemplateError(`a text has more than ${MOST_CHARACTERS} characters`);
  return text;
}

export function arithmetic(operator: string, left: Value, right: Value): Value {
  for (const value of [left, right]) if (value instanceof Undefined) throw new TemplateError(value.message);
  if (isNumber(left) && isNumber(right)) {
    const [a, b] = [numberOf(left), numberOf(right)];
    return typeof a === 'bigint' && typeof b === 'bigint'
      ? ofInts(operator, a, b)
      : ofFloats(operator, Number(a), Number(b));
  }
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') return limitedText(left + right);
    if (Array.isArray(left) && Array.isArray(right)) return limitedList([...left, ...right]);
    if (left instanceof Tuple && right instanceof Tuple) return new Tuple(limitedList([...left.items, ...right.items]));
  }
  if (operator === '*') {
    if (typeof right === 'bigint' || typeof right === 'boolean') return repeated(left, Number(right), right);
    if (typeof left === 'bigint' || typeof left === 'boolean') return repeated(right, Number(left), left);
  }
  if (operator === '%' && typeof left === 'string')
    throw new TemplateError("formatting a text with '%' is not supported");
  throw new TemplateError(`unsupported operand types for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

function limitedList(items: Value[]): Value[] {
  if (items.length > MOST_ITEMS) throw new TemplateError(`a list has more than ${MOST_ITEMS} items`);
  return items;
}

function repeated(value: Value, times: number, other: Value): Value {
  const count = Math.max(0, times);
  if (typeof value === 'string') {
    if (value.length * count > MOST_CHARACTERS)
      throw new TemplateError(`a text has more than ${MOST_CHARACTERS} characters`);
    return value.repeat(count);
  }
  const items = value instanceof Tuple ? value.items : value;
  if (!Array.isArray(items))
    throw new TemplateError(`unsupported operand types for *: '${typeName(value)}' and '${typeName(other)}'`);
  if (items.length * count > MOST_ITEMS) throw new TemplateError(`a list has more than ${MOST_ITEMS} items`);
  const list = Array.from({ length: count }, () => items as Value[]).flat();
  return value instanceof Tuple ? new Tuple(list) : list;
}

const divided = () => new TemplateError('division by zero');

function ofInts(operator: string, a: bigint, b: bigint): Value {
  switch (operator) {
    case '+':
      return limitedInt(a + b);
    case '-':
      return limitedInt(a - b);
    case '*':
      return limitedInt(a * b);
    case '/':
      if (b === 0n) throw divided();
      return Number(a) / Number(b);
    case '//':
    case '%': {
      if (b === 0n) throw divided();
      const rest = a % b;
      const floored = rest !== 0n && rest < 0n !== b < 0n;
      return operator === '%' ? (floored ? rest + b : rest) : a / b - (floored ? 1n : 0n);
    }
  }
  if (b < 0n) return ofFloats(operator, Number(a), Number(b));
  const bits = a.toString(2).length;
  if (a !== 0n && a !== 1n && a !== -1n && BigInt(bits) * b > 1n << 15n) throw new TemplateError('** makes a huge int');
  return limitedInt(a ** b);
}

function ofFloats(operator: string, a: number, b: number): number {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      if (b === 0) throw divided();
      return a / b;
    case '//':
    case '%': {
      if (b === 0) throw divided();
      let rest = a % b;
      if (rest !== 0 && rest < 0 !== b < 0) rest += b;
      if (operator === '%') return rest === 0 ? (b < 0 ? -0 : 0) : rest;
      const whole = (a - rest) / b;
      return whole === 0 ? (a / b < 0 ? -0 : 0) : Math.round(whole);
    }
  }
  if (a === 0 && b < 0) throw new TemplateError('0.0 cannot be raised to a negative power');
  if (a < 0 && !Number.isInteger(b)) throw new TemplateError('a complex number is not supported');
  const power = a ** b;
  if (!Number.isFinite(power) && Number.isFinite(a) && Number.isFinite(b))
    throw new TemplateError('the result of ** is too large for a float');
  return power;
}

export function compare(operator: string, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return equals(left, right);
    case '!=':
      return !equals(left, right);
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    case '<':
      return order(left, right, operator) < 0;
    case '<=':
      return order(left, right, operator) <= 0;
    case '>':
      return order(left, right, operator) > 0;
  }
  return order(left, right, operator) >= 0;
}

function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string') {
    if (typeof item === 'string') return container.includes(item);
    throw new TemplateError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (container instanceof Dict) return container.has(item);
  if (container instanceof DictView && container.kind === 'keys') return container.dict.has(item);
  if (container === null || isNumber(container))
    throw new TemplateError(`${repr(container)} is of type '${typeName(container)}', which contains nothing`);
  for (const each of iterate(container)) if (each === item || equals(each, item)) return true;
  return false;
}
