import { createContext, Script } from 'node:vm';
import { PrlError } from './errors.js';

/** Runs code from somebody else's file in this thread. A script can be stopped at a deadline; a plain call cannot. */
const context = createContext({ work: undefined });
const script = new Script('work()');

/**
 * Calls a function that might never return, such as a template or a pattern of a model, and stops it. On a busy machine
 * it is called again, until the process has computed for half of that time.
 *
 * @param what begins the sentence "... took more than 1000 ms"
 * @throws PrlError ERR_PRL_TIMEOUT
 */
export function withinDeadline<T>(milliseconds: number, what: string, work: () => T): T {
  for (let computed = 0; ; ) {
    const begin = process.cpuUsage();
    context.work = work;
    try {
      return script.runInContext(context, { timeout: milliseconds });
    } catch (error) {
      if ((error as NodeJS.ErrnoException)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      const { user, system } = process.cpuUsage(begin);
      computed += user + system;
      if (computed > 500 * milliseconds)
        throw new PrlError('ERR_PRL_TIMEOUT', `${what} took more than ${milliseconds} ms`);
    } finally {
      context.work = undefined;
    }
  }
}
