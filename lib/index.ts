export * from './errors.js';
export * from './kernels/policy-loss.js';
export * from './kernels/token-log-probs.js';
export { type NativeInfo, nativeInfo, setThreads } from './native.js';
export { Policy } from './policy/policy.js';
export type * from './policy/types.js';
export { type Device, type DType, Tensor, type TensorData, type TensorLike, type TensorOptions } from './tensor.js';
