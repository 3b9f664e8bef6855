// Reads uvu's output. Its exit status alone is not enough: it is 0 even if a `before` hook throws or no file matches.

/**
 * @returns {{ total: number, passed: number, skipped: number, failed: number }} `failed` is above 0 unless all went
 * well
 */
export function countTests(output, status) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of the output
  const text = output.replaceAll(/\u001b\[\d+m/g, '');
  const count = (label) => Number(text.match(new RegExp(`^\\s*${label}:\\s+(\\d+)`, 'm'))?.[1] ?? 0);
  const total = count('Total');
  const passed = count('Passed');
  const skipped = count('Skipped');
  // A file that throws before its tests are counted shows as FAIL or as a non-zero exit, not in the totals.
  // The total does not include skipped tests.
  let failed = total - passed;
  if (failed === 0 && (status !== 0 || total + skipped === 0 || /^\s*FAIL\b/m.test(text))) failed = 1;
  return { total, passed, skipped, failed };
}
