/** Stable codes of the errors this package throws; new ones may be added, none is renamed. */
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
export const invalidArgument = (message: string) => withCode(new TypeError(message), 'ERR_PRL_INVALID_ARGUMENT');
/** A RangeError: the right kind of thing, but a value that cannot be. */
export const outOfRange = (message: string) => withCode(new RangeError(message), 'ERR_PRL_OUT_OF_RANGE');
/** A TypeError for an option that does not exist. */
export const unknownOption = (message: string) => withCode(new TypeError(message), 'ERR_PRL_UNKNOWN_OPTION');
