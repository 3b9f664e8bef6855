import { spelled } from './spelling.js';

/** Prints a warning to stderr. The work continues. */
export const warn = (message: string): void => console.warn(`prl: ${spelled(message)}`);
