// The kernels, for your own trainer: `prl-node/kernels`. It loads only what they need.
export { PrlError, type PrlErrorCode } from '../base/errors.js';
export * from './coherence.js';
export { topEntropyThreshold } from './entropy-threshold.js';
export * from './group-advantages.js';
export { type ImportanceWeightsArgs, importanceWeights } from './importance-weights.js';
export * from './linear-policy-loss.js';
export type { PolicyLossMetrics } from './loss-batch.js';
export type { PolicyLossOptions } from './loss-options.js';
export { type CudaDevice, cudaDevices, type NativeInfo, nativeInfo, setThreads } from './native.js';
export * from './policy-loss.js';
export * from './progrs-advantages.js';
export { type QuantileLoss, type QuantileLossOptions, quantileLoss } from './quantile-loss.js';
export * from './split-steps.js';
export * from './step-advantages.js';
export {
  type CudaIpcMemory,
  type Device,
  type DType,
  emptyCudaCache,
  initCuda,
  synchronize,
  Tensor,
  type TensorData,
  type TensorLike,
  type TensorOptions,
} from './tensor.js';
export { type TokenLogProbs, type TokenLogProbsOptions, tokenLogProbs } from './token-log-probs.js';
