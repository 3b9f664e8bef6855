// Functions of complex numbers that follow from a few others, whatever the precision.

/** The functions that a kind of number computes itself. */
export interface Primitives<T> {
  one: T;
  two: T;
  ten: T;
  half: T;
  pi(): T;
  e(): T;
  add(a: T, b: T): T;
  subtract(a: T, b: T): T;
  multiply(a: T, b: T): T;
  divide(a: T, b: T): T;
  exp(a: T): T;
  ln(a: T): T;
  sqrt(a: T): T;
  sin(a: T): T;
  cos(a: T): T;
  sinh(a: T): T;
  cosh(a: T): T;
  arcsin(a: T): T;
  arccos(a: T): T;
  arctan(a: T): T;
}

/** By the names of MathJSON. A function takes as many arguments as it names without a default. */
export function analytic<T>(primitives: Primitives<T>): Record<string, (...args: T[]) => T> {
  const { one, two, ten, half, pi, e, add, subtract, multiply, divide } = primitives;
  const { exp, ln, sqrt, sin, cos, sinh, cosh, arcsin, arccos, arctan } = primitives;
  const inverse = (a: T) => divide(one, a);
  return {
    ...{ Sqrt: sqrt, Exp: exp, Sin: sin, Cos: cos, Sinh: sinh, Cosh: cosh },
    ...{ Arcsin: arcsin, Arccos: arccos, Arctan: arctan },
    Ln: (a, base = e()) => divide(ln(a), ln(base)),
    Log: (a, base = ten) => divide(ln(a), ln(base)),
    Lb: (a) => divide(ln(a), ln(two)),
    Tan: (a) => divide(sin(a), cos(a)),
    Cot: (a) => divide(cos(a), sin(a)),
    Sec: (a) => inverse(cos(a)),
    Csc: (a) => inverse(sin(a)),
    Arccot: (a) => subtract(multiply(half, pi()), arctan(a)),
    Arcsec: (a) => arccos(inverse(a)),
    Arccsc: (a) => arcsin(inverse(a)),
    Tanh: (a) => divide(sinh(a), cosh(a)),
    Arsinh: (a) => ln(add(a, sqrt(add(multiply(a, a), one)))),
    Arcosh: (a) => ln(add(a, multiply(sqrt(add(a, one)), sqrt(subtract(a, one))))),
    Artanh: (a) => multiply(half, ln(divide(add(one, a), subtract(one, a)))),
  };
}
