/** Prints a warning to stderr. The work continues. */
export const warn = (message: string): void => console.warn(`prl: ${message}`);
