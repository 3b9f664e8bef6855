/**
 * Stable codes of the errors that this package throws. New codes may be added; none is renamed.
 *
 * - ERR_PRL_INVALID_ARGUMENT (TypeError): an argument of the wrong type, or options that exclude each other
 * - ERR_PRL_OUT_OF_RANGE (RangeError): an impossible value, length, shape or index
 * - ERR_PRL_UNKNOWN_OPTION (TypeError): an option that does not exist; the message names the nearest
 * - ERR_PRL_NON_FINITE: a NaN or an infinity where a finite number is needed, or training with updates that are not
 * finite
 * - ERR_PRL_UNSUPPORTED: a valid request that this build, device or model does not support
 * - ERR_PRL_OUT_OF_MEMORY: too little memory for the request; for a policy, the message says what would fit
 * - ERR_PRL_ABORTED (name AbortError): the caller's signal ended the call
 * - ERR_PRL_DISPOSED: use of a tensor or policy after dispose()
 * - ERR_PRL_BUSY: a policy whose last call has not ended, or a run folder in use by another process
 * - ERR_PRL_CUDA: CUDA or cuBLAS failed
 * - ERR_PRL_NATIVE_MISSING: there is no addon for this machine, or it does not load
 * - ERR_PRL_IO: a failure of the disk, or a folder that holds something else
 * - ERR_PRL_NOT_FOUND, ERR_PRL_ACCESS: a model, dataset or file does not exist, or needs a token or a licence
 * - ERR_PRL_OFFLINE, ERR_PRL_HTTP, ERR_PRL_TIMEOUT: there is no network, a server answered with an error, or not in
 * time
 * - ERR_PRL_REWARD_MODEL, ERR_PRL_VERIFIER: a process reward model or a verifier gave an unusable answer
 * - ERR_PRL_ROLLOUT, ERR_PRL_WEIGHT_SYNC: a rollout server gave an unusable answer, or did not take the weights
 * - ERR_PRL_ENGINE: a training server failed, refused a request, or gave an unusable answer
 * - ERR_PRL_SESSION_LOST: a training server no longer has the session or the model: connect again, and resume
 * - ERR_PRL_CORRUPT: the contents of a file are not what they should be
 * - ERR_PRL_TEMPLATE: a chat template is unusable
 * - ERR_PRL_INTERNAL: a defect in this package
 */
export type PrlErrorCode =
  | 'ERR_PRL_INVALID_ARGUMENT'
  | 'ERR_PRL_OUT_OF_RANGE'
  | 'ERR_PRL_UNKNOWN_OPTION'
  | 'ERR_PRL_NON_FINITE'
  | 'ERR_PRL_UNSUPPORTED'
  | 'ERR_PRL_OUT_OF_MEMORY'
  | 'ERR_PRL_ABORTED'
  | 'ERR_PRL_DISPOSED'
  | 'ERR_PRL_BUSY'
  | 'ERR_PRL_CUDA'
  | 'ERR_PRL_NATIVE_MISSING'
  | 'ERR_PRL_IO'
  | 'ERR_PRL_NOT_FOUND'
  | 'ERR_PRL_ACCESS'
  | 'ERR_PRL_OFFLINE'
  | 'ERR_PRL_HTTP'
  | 'ERR_PRL_TIMEOUT'
  | 'ERR_PRL_REWARD_MODEL'
  | 'ERR_PRL_ROLLOUT'
  | 'ERR_PRL_WEIGHT_SYNC'
  | 'ERR_PRL_ENGINE'
  | 'ERR_PRL_SESSION_LOST'
  | 'ERR_PRL_VERIFIER'
  | 'ERR_PRL_CORRUPT'
  | 'ERR_PRL_TEMPLATE'
  | 'ERR_PRL_INTERNAL';

const BRAND = Symbol.for('prl-node.PrlError');

/**
 * A failure other than a wrong type (TypeError) or a wrong value (RangeError) of an argument. Those two have a `code`
 * as well, so `error.code` alone identifies every failure of this package.
 */
export class PrlError extends Error {
  /** Which failure it is. */
  readonly code: PrlErrorCode;

  constructor(code: PrlErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = code === 'ERR_PRL_ABORTED' ? 'AbortError' : 'PrlError';
    this.code = code;
    Object.defineProperty(this, BRAND, { value: true });
  }
}

// Test runners load this module once for each test file: an error of another copy is a PrlError as well.
Object.defineProperty(PrlError, Symbol.hasInstance, {
  value(this: unknown, value: unknown): boolean {
    if (this !== PrlError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === 'object' && value !== null && BRAND in value;
  },
});

function withCode<E extends Error>(error: E, code: PrlErrorCode): E {
  Object.defineProperty(error, 'code', { value: code, enumerable: true });
  return error;
}

/** The message of whatever was thrown. */
export const messageOf = (thrown: unknown): string => String((thrown as Error | undefined)?.message ?? thrown);
/** The error of a file that cannot be read. */
export const readError = (path: string, cause: unknown) =>
  new PrlError('ERR_PRL_IO', `cannot read ${path}: ${(cause as Error).message}`, { cause });
/** A TypeError: an argument of the wrong type. */
export const invalidArgument = (message: string, options?: ErrorOptions) =>
  withCode(new TypeError(message, options), 'ERR_PRL_INVALID_ARGUMENT');
/** A RangeError: an argument of the right type with an impossible value. */
export const outOfRange = (message: string) => withCode(new RangeError(message), 'ERR_PRL_OUT_OF_RANGE');
/** A TypeError for an option that does not exist. */
export const unknownOption = (message: string) => withCode(new TypeError(message), 'ERR_PRL_UNKNOWN_OPTION');
