import { exactField } from './exact.js';
import { type Expression, NotUnderstood } from './expression.js';
import type { Field } from './field.js';
import { LIMITS } from './limits.js';

export function evaluate<T>(expression: Expression | undefined, field: Field<T>): T {
  if (!expression) throw new NotUnderstood('an argument is missing');
  if (expression.kind === 'number') return field.number(expression.value);
  if (expression.kind === 'symbol') return field.symbol(expression.name);
  const { name, args } = expression;
  const value = (k: number) => evaluate(args[k], field);
  switch (name) {
    case 'Add':
      return args.slice(1).reduce((sum, arg) => field.add(sum, evaluate(arg, field)), value(0));
    case 'Subtract':
      return field.add(value(0), field.negate(value(1)));
    case 'Negate':
      return field.negate(value(0));
    case 'Multiply':
      return args.slice(1).reduce((product, arg) => field.multiply(product, evaluate(arg, field)), value(0));
    case 'Divide':
    case 'Rational':
      return field.divide(value(0), value(1));
    case 'Square':
      return field.power(value(0), 2);
    case 'Power': {
      const exponent = integerOf(args[1]);
      return exponent === undefined ? field.call('Power', [value(0), value(1)]) : field.power(value(0), exponent);
    }
    case 'Binomial':
    case 'C': {
      const k = args.length === 2 ? integerOf(args[1]) : undefined;
      return k !== undefined && k >= 0 && k <= LIMITS.falling
        ? fallingOverFactorial(field, value(0), k)
        : field.call('Binomial', [value(0), value(1)]);
    }
    default:
      return field.call(
        name,
        args.map((_, k) => value(k)),
      );
  }
}

/** n (n - 1) ... (n - k + 1) / k!, which is a polynomial of n. */
function fallingOverFactorial<T>(field: Field<T>, n: T, k: number): T {
  const one = field.number(exactField.one);
  let product = one;
  let factor = n;
  let divisor = one;
  let j = one;
  for (let i = 0; i < k; i++) {
    product = field.divide(field.multiply(product, factor), divisor);
    factor = field.add(factor, field.negate(one));
    j = field.add(j, one);
    divisor = j;
  }
  return product;
}

/** The value of an expression without symbols that is an integer small enough for an exponent. */
function integerOf(expression: Expression | undefined): number | undefined {
  try {
    const value = evaluate(expression, exactField);
    const exponent = Number(value.s * value.n);
    return value.d === 1n && Math.abs(exponent) <= LIMITS.exponent ? exponent : undefined;
  } catch (error) {
    if (error instanceof NotUnderstood) return undefined;
    throw error;
  }
}
