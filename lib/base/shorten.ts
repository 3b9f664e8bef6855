/** The beginning of a text from elsewhere, for messages. */
export const shorten = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}...` : text);
