import { PrlError } from '../base/errors.js';

/** The failure of a process reward model on one response of a batch. */
export class ResponseFailure extends PrlError {
  /** Index of the response in the batch. */
  readonly response: number;
  /** What went wrong, without the place. */
  readonly reason: string;

  /** @param place names the response, such as "response 3 of the batch" */
  constructor(error: PrlError, response: number, place = `response ${response} of the batch`) {
    const reason = error instanceof ResponseFailure ? error.reason : error.message;
    super(error.code, `${place}: ${reason}`, { cause: error.cause ?? error });
    this.response = response;
    this.reason = reason;
  }
}

/** Calls `work` of the model `name` for response `i` of a batch. Its errors name both, except for an abortion. */
export async function ofResponse<R>(name: string, i: number, signal: AbortSignal, work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = (error ?? {}) as Partial<PrlError>;
    if (signal.aborted || code === 'ERR_PRL_ABORTED') throw error;
    if (String(code).startsWith('ERR_PRL_')) throw new ResponseFailure(error as PrlError, i);
    const failed = new PrlError('ERR_PRL_REWARD_MODEL', `${name} failed: ${message ?? error}`, { cause: error });
    throw new ResponseFailure(failed, i);
  }
}
