// Texts that a process reward model reads as marks: the separator after each step, control tokens of chat templates. A
// server finds them in the text, so what a policy or a dataset writes must hold none of them.

/** <|im_end|>, <|eot_id|>, <｜User｜> at the end of a text: most control tokens are written like this. */
const CONTROL = /<[|｜][\w▁.-]{2,64}[|｜]>$/;
/** Characters of the longest of them. */
const LONGEST = 68;
/** Those that are written otherwise. */
const OTHERS = ['<s>', '</s>', '<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>', '[INST]', '[/INST]'];

/**
 * The text without control tokens, and without `separator`. What is left around one may form another, as in
 * <ex<extra_0>tra_0>: that is removed too. Blanks that hold a blank separator become one space, to keep words apart.
 */
export function withoutMarks(text: string, separator?: string): string {
  if (separator?.trim() === '') text = text.replace(/\s+/g, (blank) => (blank.includes(separator) ? ' ' : blank));
  const marks = separator === undefined ? OTHERS : [...OTHERS, separator];
  if (!/[|｜]>/.test(text) && !marks.some((mark) => text.includes(mark))) return text;
  // Never holds a mark: one is taken off again when its last character comes.
  const left: string[] = [];
  for (const character of text.split('')) {
    left.push(character);
    const end = (length: number) => left.slice(-length).join('');
    const mark =
      marks.find((each) => each.endsWith(character) && end(each.length) === each) ??
      (character === '>' ? CONTROL.exec(end(LONGEST))?.[0] : undefined);
    if (mark) left.length -= mark.length;
  }
  return left.join('');
}

/** The steps as one text, with the separator after each and nowhere else. `before` is the text that they follow. */
export function markSteps(steps: readonly string[], separator: string, before = ''): string {
  const reach = separator.length - 1;
  let text = '';
  let end = before;
  const add = (piece: string) => {
    // Where two texts meet, they may form a separator that neither holds.
    end = reach > 0 ? end.slice(-reach) : '';
    const begin = piece.slice(0, reach);
    const between = ['', ' ', '\n', '.'].find((each) => !(end + each + begin).includes(separator))!;
    text += between + piece;
    end += between + piece;
  };
  for (const step of steps) {
    add(withoutMarks(step, separator).trimEnd());
    add(separator);
  }
  return text;
}
