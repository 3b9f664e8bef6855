/** A new folder in runs/, for a command without --output. */
export function newRunPath(name: string): string {
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');
  return `runs/${name}-${stamp}`;
}
