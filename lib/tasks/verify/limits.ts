/**
 * Limits of one judgement. The parser's time grows exponentially with bars and nested brackets, and 9^{9^{9^9}} is
 * eight characters. Without limits a policy under training would find a text that stops its own trainer.
 */
export const LIMITS = {
  /** Characters of a response that are read, from its end. */
  response: 20_000,
  /** Characters of an answer before it is cleaned up. */
  answer: 2_000,
  /** Characters that go to the parser. */
  characters: 400,
  /** Depth of brackets in brackets. */
  depth: 8,
  bars: 6,
  /** Nodes of a parsed expression. */
  nodes: 2_000,
  exponent: 20_000,
  factorial: 1_000,
  /** Lower index of a binomial coefficient, unless both indices are integers. */
  falling: 64,
  /** Bits of an exact integer. */
  bits: 40_000n,
  /** Bits of the parts of an exact fraction. Reducing it takes time that grows with their square. */
  fractionBits: 8_000n,
  /** Parts of a list, cells of a matrix. */
  parts: 64,
} as const;
