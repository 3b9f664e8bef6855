// Which problems count as the same. Two copies of a data set rarely have the same bytes: editors and exports change
// spaces, line ends and the Unicode form of a character.
import { PROMPT_PRESETS } from './prompt.js';

/** Characters without a shape: zero-width spaces and joiners, soft hyphens, marks of direction, variation selectors. */
const INVISIBLE = /\p{Cf}|\p{Variation_Selector}|\u034f/gu;
const SPACES = /\p{White_Space}+/gu;

/** The text by which duplicates within a data set are found: composed, with one space for white space. */
export const duplicateKey = (prompt: string): string =>
  prompt.normalize('NFC').replace(INVISIBLE, '').replace(SPACES, ' ').trim();

/**
 * The text by which problems of the evaluation are found in the training data. A problem that is left out by mistake
 * costs little there, so more texts are equal: also those that differ in compatibility characters, case, any white
 * space, punctuation at the end, or an instruction of a prompt preset around the problem.
 */
export function leakKey(prompt: string): string {
  let key = withoutEnd(plain(prompt));
  for (let before = ''; before !== key; ) {
    before = key;
    for (const text of INSTRUCTIONS) {
      const end = withoutEnd(text);
      if (key.length > text.length && key.startsWith(text)) key = key.slice(text.length);
      if (key.length > end.length && key.endsWith(end)) key = withoutEnd(key.slice(0, -end.length));
    }
  }
  return key;
}

const plain = (text: string): string =>
  text.normalize('NFKC').toLowerCase().normalize('NFKC').replace(INVISIBLE, '').replace(SPACES, '');

/** Punctuation at the end goes, unless the text is nothing else. */
const withoutEnd = (text: string): string => text.replace(/(?<=[^.,:;?!。])[.,:;?!。]+$/, '');

/** The texts that the presets put before and after a problem. */
const INSTRUCTIONS: readonly string[] = Object.values(PROMPT_PRESETS)
  .flatMap((preset) => [...preset.template.split('{prompt}'), 'system' in preset ? preset.system : ''])
  .map(plain)
  .filter((text) => text !== '');
