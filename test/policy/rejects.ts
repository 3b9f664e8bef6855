import { throwsError } from '../reference/numbers.js';

/** Like throwsError, for a promise. */
export async function rejectsWith(
  promise: Promise<unknown>,
  kind: new (...args: never[]) => Error,
  code: string,
  message: RegExp,
): Promise<void> {
  let outcome = () => {};
  await promise.catch((error) => {
    outcome = () => {
      throw error;
    };
  });
  throwsError(outcome, kind, code, message);
}
