import { invalidArgument, messageOf, PrlError } from '../../base/errors.js';
import { checkNumber, checkOptions, checkString, describe } from '../../base/options.js';
import type { Verdict } from '../task.js';
import type { ResponseInfo, Verifier } from './verifier.js';

/** A verifier of yours: returns a reward from 0 to 1. The signal is aborted at the deadline. */
export type VerifierFunction = (
  response: string,
  gold: string,
  info: ResponseInfo & { signal: AbortSignal },
) => Verdict | Promise<Verdict>;

/** Options of {@link functionVerifier}. */
export interface FunctionVerifierOptions {
  /** Name in errors. Default: the function's own name. */
  name?: string | undefined;
  /** Milliseconds for one response. Default 30000. */
  timeout?: number | undefined;
}

/**
 * Makes a verifier of your function, which may be async. Three things end the run: an error that it throws, a missed
 * deadline, and a reward outside [0, 1]. The policy would otherwise learn from an invented reward. Only an asynchronous
 * function can be stopped.
 *
 * @throws PrlError ERR_PRL_VERIFIER or ERR_PRL_TIMEOUT, from the verifier, naming it and the problem
 */
export function functionVerifier(judge: VerifierFunction, options: FunctionVerifierOptions = {}): Verifier {
  if (typeof judge !== 'function') throw invalidArgument(`functionVerifier takes a function, not ${describe(judge)}`);
  options = checkOptions('functionVerifier', options, ['name', 'timeout']);
  const name = checkString('name', options.name ?? (judge.name || 'function'));
  const timeout = checkNumber('timeout', options.timeout ?? 30_000, 0, 2 ** 31 - 1, true);
  return async (response, gold, info) => {
    const stop = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(
          new PrlError('ERR_PRL_TIMEOUT', `the verifier '${name}' took more than ${timeout} ms for ${problem(info)}`),
        );
        stop.abort();
      }, timeout);
    });
    try {
      return await Promise.race([checkVerdict(name, judge, response, gold, { ...info, signal: stop.signal }), late]);
    } finally {
      clearTimeout(timer);
    }
  };
}

/** The verdict of a verifier. Its errors, and rewards outside [0, 1], name it and the problem. */
export async function checkVerdict<I extends ResponseInfo>(
  name: string,
  verifier: (response: string, gold: string, info: I) => Verdict | Promise<Verdict>,
  response: string,
  gold: string,
  info: I,
): Promise<{ reward: number; measures: Record<string, number> }> {
  let verdict: Verdict;
  try {
    verdict = await verifier(response, gold, info);
  } catch (error) {
    if (error instanceof PrlError && (error.code === 'ERR_PRL_VERIFIER' || error.code === 'ERR_PRL_TIMEOUT'))
      throw error;
    const message = messageOf(error);
    throw new PrlError('ERR_PRL_VERIFIER', `the verifier '${name}' failed for ${problem(info)}: ${message}`, {
      cause: error,
    });
  }
  const { reward, measures } = typeof verdict === 'object' && verdict ? verdict : { reward: verdict, measures: {} };
  if (typeof reward !== 'number' || !(reward >= 0 && reward <= 1))
    throw new PrlError(
      'ERR_PRL_VERIFIER',
      `the verifier '${name}' must give a reward from 0 to 1, not ${typeof reward === 'number' ? reward : describe(reward)}, for ${problem(info)}`,
    );
  return { reward, measures: measures ?? {} };
}

function problem(info: ResponseInfo | undefined): string {
  const prompt: unknown = info?.prompt;
  if (typeof prompt !== 'string') return `a problem whose prompt is ${describe(prompt)}`;
  return `the problem ${JSON.stringify(prompt.length > 120 ? `${prompt.slice(0, 120)}...` : prompt)}`;
}
