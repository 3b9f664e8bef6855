/**
 * What one judgement may cost, at most. The parser takes time that grows exponentially with bars and with nested brackets, and
 * 9^{9^{9^9}} is eight characters: without these bounds a policy under training would find what stops its own trainer.
 */
export const LIMITS = {
  /** Characters of a response that are looked at: its last. */
  response: 20_000,
  /** Characters of an answer before it is cleaned up. */
  answer: 2_000,
  /** Of what goes to the parser. */
  characters: 400,
  /** Brackets in brackets. */
  depth: 8,
  bars: 6,
  /** Of a parsed expression. */
  nodes: 2_000,
  exponent: 20_000,
  factorial: 1_000,
  /** The lower index of a binomial coefficient of anything but two integers. */
  falling: 64,
  /** Of an exact integer. */
  bits: 40_000n,
  /** Of the parts of an exact fraction: reducing it takes time that grows with their square. */
  fractionBits: 8_000n,
  /** Parts of a list, cells of a matrix. */
  parts: 64,
} as const;
