/**
 * Functions that the parser knows under these names; written without a backslash or as an operator name, they get one.
 */
export const FUNCTIONS =
  'sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|log|lg|exp|max|min|gcd|lcm|det|sqrt|pi|infty|theta|alpha|beta';
/** One of them, or of others that are functions too. */
export const FUNCTION_ALONE = new RegExp(`^(?:${FUNCTIONS}|arccot|arcsec|arccsc|arcsinh|arccosh|arctanh|mod)$`);
