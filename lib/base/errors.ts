/**
 * Stable codes of the errors this package throws; new ones may be added, none is renamed.
 *
 * - ERR_PRL_INVALID_ARGUMENT (TypeError): the wrong kind of thing, or options that cannot go together
 * - ERR_PRL_OUT_OF_RANGE (RangeError): a value, length, shape or index that cannot be
 * - ERR_PRL_UNKNOWN_OPTION (TypeError): no such option; the message names the nearest
 * - ERR_PRL_NON_FINITE: a NaN or an infinity where a finite number is needed; training whose updates are not finite
 * - ERR_PRL_UNSUPPORTED: legal, but not in this build, on this device or with this model
 * - ERR_PRL_OUT_OF_MEMORY: what is asked for does not fit; of a policy the message names what does
 * - ERR_PRL_ABORTED (name AbortError): the caller's signal
 * - ERR_PRL_DISPOSED: a tensor or policy after dispose()
 * - ERR_PRL_BUSY: a policy in a call that has not ended, or a run folder of another process
 * - ERR_PRL_CUDA: CUDA or cuBLAS failed
 * - ERR_PRL_NATIVE_MISSING: no addon for this machine, or one that does not load
 * - ERR_PRL_IO: the disk; a folder that holds something else
 * - ERR_PRL_NOT_FOUND, ERR_PRL_ACCESS: no such model, dataset or file; one that needs a token or a licence
 * - ERR_PRL_OFFLINE, ERR_PRL_HTTP, ERR_PRL_TIMEOUT: the network is not there, a server answers with an error, or not in time
 * - ERR_PRL_REWARD_MODEL, ERR_PRL_VERIFIER: a process reward model or a verifier gave no answer that can be used
 * - ERR_PRL_ROLLOUT, ERR_PRL_WEIGHT_SYNC: a rollout server's answers cannot be used, or it did not take the weights
 * - ERR_PRL_CORRUPT: a file does not hold what it should
 * - ERR_PRL_TEMPLATE: a chat template that cannot be used
 * - ERR_PRL_INTERNAL: a defect of ours
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
  | 'ERR_PRL_VERIFIER'
  | 'ERR_PRL_CORRUPT'
  | 'ERR_PRL_TEMPLATE'
  | 'ERR_PRL_INTERNAL';

/**
 * A failure that is neither a wrong type (TypeError) nor a wrong value (RangeError) of an argument; those two carry a
 * `code` as well, so that `error.code` alone tells every failure of this package apart.
 */
export class PrlError extends Error {
  /** Which failure it is. */
  readonly code: PrlErrorCode;
  constructor(code: PrlErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = code === 'ERR_PRL_ABORTED' ? 'AbortError' : 'PrlError';
    this.code = code;
  }
}

function withCode<E extends Error>(error: E, code: PrlErrorCode): E {
  Object.defineProperty(error, 'code', { value: code, enumerable: true });
  return error;
}

/** A TypeError: the wrong kind of thing came. */
export const invalidArgument = (message: string, options?: ErrorOptions) =>
  withCode(new TypeError(message, options), 'ERR_PRL_INVALID_ARGUMENT');
/** A RangeError: the right kind of thing, but a value that cannot be. */
export const outOfRange = (message: string) => withCode(new RangeError(message), 'ERR_PRL_OUT_OF_RANGE');
/** A TypeError for an option that does not exist. */
export const unknownOption = (message: string) => withCode(new TypeError(message), 'ERR_PRL_UNKNOWN_OPTION');
