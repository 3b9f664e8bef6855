import type Fraction from 'fraction.js';

/**
 * Numbers of one kind, in which expressions are evaluated. A method throws NotUnderstood if the kind has no such value.
 */
export interface Field<T> {
  number(value: Fraction): T;
  symbol(name: string): T;
  add(a: T, b: T): T;
  negate(a: T): T;
  multiply(a: T, b: T): T;
  divide(a: T, b: T): T;
  /** `exponent` is an integer of at most LIMITS.exponent in size. */
  power(a: T, exponent: number): T;
  /** Any other function, by the name it has in MathJSON. */
  call(name: string, args: T[]): T;
}
