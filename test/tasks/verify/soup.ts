// Random LaTeX: what a policy in training writes when it tries everything. The same for the same seed.
import { type Random, randomInteger, randomStream } from '../../../lib/base/random.js';

const ATOMS = [
  ...[
    '0',
    '1',
    '2',
    '3',
    '7',
    '10',
    '12',
    '99',
    '1000',
    '3.5',
    '.5',
    '1,000',
    '0.\\overline{3}',
    '1e5',
    '20000',
    '999999999',
  ],
  ...[
    'x',
    'y',
    'n',
    'a_1',
    'x_{n}',
    'i',
    'e',
    '\\pi',
    '\\theta',
    '\\infty',
    '-\\infty',
    '\\emptyset',
    '\\mathbb{R}',
    'f(x)',
    'ab',
  ],
  ...[
    '\\text{cm}',
    '\\text{ and }',
    '\\text{(B)}',
    'B',
    'yes',
    '\\ldots',
    '30^\\circ',
    '25\\%',
    '243_6',
    "f'",
    'π',
    '√2',
    '½',
    '²',
  ],
];
const UNARY = [
  ...[
    '\\sqrt{A}',
    '\\sqrt[3]{A}',
    '(A)',
    '\\left(A\\right)',
    '[A]',
    '\\{A\\}',
    '|A|',
    '\\left|A\\right|',
    '\\lfloor A\\rfloor',
    '-A',
    'A!',
  ],
  ...[
    '\\sin A',
    '\\sin^{-1}(A)',
    '\\log_2 A',
    '\\ln(A)',
    '\\arctan A',
    '\\overline{A}',
    '\\vec{A}',
    '\\mathrm{A}',
    '\\boxed{A}',
    '$A$',
    '\\pm A',
  ],
  ...[
    '{A}',
    '\\text{A}',
    'A\\%',
    'A^\\circ',
    'A\\text{ km}',
    'A!!',
    'A^{-1}',
    '\\sum_{k=1}^n A',
    '\\int_0^1 A\\,dx',
    '\\frac{d}{dx} A',
    '\\max(A)',
  ],
];
const BINARY = [
  ...[
    'A+B',
    'A-B',
    'A B',
    'A\\cdot B',
    'A/B',
    '\\frac{A}{B}',
    '\\dfrac AB',
    '\\binom{A}{B}',
    'A^{B}',
    'A^B',
    'A_{B}',
    'A=B',
    'A<B',
    'A\\le B',
  ],
  ...[
    'A,B',
    '(A,B]',
    '\\{A,B\\}',
    'A:B',
    'A\\cup B',
    'A\\pm B',
    'A\\in B',
    '\\log_{A} B',
    'A\\mp B',
    'A\\pmod{B}',
    'A \\\\ B',
    'A & B',
    'A\\mid B',
  ],
  ...[
    '\\begin{pmatrix}A\\\\B\\end{pmatrix}',
    '\\begin{bmatrix}A&B\\end{bmatrix}',
    '\\begin{cases}A\\\\B\\end{cases}',
    'A\\text{ or }B',
    'A^{B^{A}}',
  ],
];
const DEBRIS = [
  ...[
    '{',
    '}',
    '(',
    ')',
    '[',
    ']',
    '|',
    '\\|',
    '\\{',
    '\\}',
    '^',
    '_',
    '&',
    '\\\\',
    '\\',
    '$',
    '$$',
    '%',
    '\\%',
    '#',
    '~',
    "'",
    '"',
    '!',
    '?',
  ],
  ...[
    ',',
    ';',
    ':',
    '.',
    '..',
    '\\left',
    '\\right',
    '\\left(',
    '\\right)',
    '\\begin{pmatrix}',
    '\\end{pmatrix}',
    '\\begin{array}{cc}',
    '\\frac',
  ],
  ...[
    '\\sqrt',
    '\\text',
    '\\text{',
    '\\boxed{',
    '</think>',
    '\\over',
    '\\choose',
    '\\circ',
    '\\times',
    '\\to',
    '\\sum',
    '\\int',
    '\\lim_{x\\to 0}',
  ],
  ...[
    '\\overline',
    '\\operatorname{lcm}',
    '\\mathrm',
    '\\not',
    '\\prime',
    '\\langle',
    '\\rangle',
    '\\lfloor',
    '\u0000',
    '\u0001',
    '\ud800',
    '中',
    '🙂',
  ],
  ...[
    'constructor',
    '__proto__',
    '\\constructor',
    '\\hasOwnProperty',
    '\\quad',
    '\\!',
    '\\,',
    'toString',
    '\\unknowncommand',
    '\\def\\a{\\a}\\a',
  ],
];

const pick = <T>(random: Random, items: readonly T[]): T => items[randomInteger(random, 0, items.length - 1)];

/** An expression that is well-formed, as a rule. */
function expression(random: Random, depth: number): string {
  if (depth <= 0 || random() < 0.2) return pick(random, ATOMS);
  const template = random() < 0.45 ? pick(random, UNARY) : pick(random, BINARY);
  return template.replace(
    /(?<![a-zA-Z\\{])A(?![a-zA-Z])|(?<=[{}A])[AB](?=[}A-Z])|(?<![a-zA-Z\\])[AB](?![a-zA-Z])/g,
    () => expression(random, depth - 1),
  );
}

/** One with pieces of it deleted, doubled, swapped or replaced by debris. */
function damaged(random: Random, text: string): string {
  const tokens = text.match(/\\[a-zA-Z]+|\\[\s\S]|[\s\S]/g) ?? [];
  for (let n = randomInteger(random, 1, 6); n > 0; n--) {
    const at = randomInteger(random, 0, tokens.length);
    const how = random();
    if (how < 0.25) tokens.splice(at, 1);
    else if (how < 0.6) tokens.splice(at, 0, pick(random, DEBRIS));
    else if (how < 0.8) tokens.splice(at, 0, ...tokens.slice(at, at + randomInteger(random, 1, 8)));
    else tokens.splice(at, 2, ...tokens.slice(at, at + 2).reverse());
  }
  return tokens.join('');
}

const loose = (random: Random, length: number) =>
  Array.from({ length }, () => pick(random, random() < 0.5 ? DEBRIS : ATOMS)).join(random() < 0.5 ? '' : ' ');

export function soup(seed: number, index: number): { gold: string; answer: string } {
  const random = randomStream(seed, 'soup', index);
  const one = () => {
    const kind = random();
    const made = expression(random, randomInteger(random, 1, 6));
    if (kind < 0.35) return made;
    if (kind < 0.7) return damaged(random, made);
    if (kind < 0.95) return loose(random, randomInteger(random, 1, 60));
    return pick(random, [...DEBRIS, ...UNARY]).repeat(randomInteger(random, 1, 400));
  };
  const answer = one();
  const gold = random() < 0.3 ? damaged(random, answer) : random() < 0.5 ? one() : pick(random, ATOMS);
  return { gold, answer };
}
