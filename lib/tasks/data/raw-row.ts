/** Values by name. Read only its own properties: names come from files. */
export type RawRow = { readonly [name: string]: unknown };

/** Called once with the names of the first row. Returns the wanted ones (default: all). */
export type SelectColumns = (names: string[]) => string[] | undefined;
