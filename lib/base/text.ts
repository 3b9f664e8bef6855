// Formats texts and values from elsewhere for messages.

/** The beginning of a text. */
export const shorten = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}...` : text);

/** A value from a file, as JSON. */
export function quoted(value: unknown): string {
  try {
    return shorten(JSON.stringify(value) ?? String(value));
  } catch {
    return 'a value that is nested too deeply';
  }
}

/** A name from a file, such as a tensor's. */
export const quotedName = (name: string): string => `'${shorten(JSON.stringify(name).slice(1, -1))}'`;
