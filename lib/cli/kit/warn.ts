/** A line on stderr that is worth reading, while the work goes on. */
export const warn = (message: string): void => console.warn(`prl: ${message}`);
