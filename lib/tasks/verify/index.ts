// Verifiers of answers: `prl-node/verify`. Loads no addon.
export { type Extraction, extractAnswer } from './extract.js';
export { type FunctionVerifierOptions, functionVerifier, type VerifierFunction } from './function.js';
export type { MathReason, MathVerdict } from './judge.js';
export { type MathOptions, mathVerifier, verifyMath } from './math.js';
export {
  type ExactOptions,
  exactVerifier,
  type NumericOptions,
  numericVerifier,
  type RegexOptions,
  regexVerifier,
  type VerifierName,
  verifierByName,
} from './simple.js';
export type { ResponseInfo, Verifier } from './verifier.js';
export { type WeightedPart, weightedVerifier } from './weighted.js';
