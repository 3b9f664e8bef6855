/** Values by name. Only own properties of it may be read: names come from files. */
export type RawRow = { readonly [name: string]: unknown };

/** Called once with the names of the first row; says which of them are wanted (default: all). */
export type SelectColumns = (names: string[]) => string[] | undefined;
