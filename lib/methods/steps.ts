import type { Tokenizer } from '../policy/tokenizer.js';

export interface StepOptions {
  stepSplit: 'newline' | 'blankLine' | 'length';
  stepLength: number;
}
/** cuSteps [S + 1] of packed completions. TEMPORARY until splitSteps lands */
export function completionSteps(
  completions: Int32Array[],
  tokenizer: Tokenizer,
  { stepSplit, stepLength }: StepOptions,
): Int32Array {
  const cu = [0];
  let at = 0;
  const nl = new Map<number, boolean>();
  for (const c of completions) {
    for (let t = 0; t < c.length; t++) {
      let end = t === c.length - 1;
      if (stepSplit === 'length') end ||= (t + 1) % stepLength === 0;
      else {
        if (!nl.has(c[t])) nl.set(c[t], tokenizer.decode([c[t]]).includes('\n'));
        end ||= nl.get(c[t])!;
      }
      if (end) cu.push(at + t + 1);
    }
    at += c.length;
  }
  return Int32Array.from(cu);
}
