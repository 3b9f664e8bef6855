// Responses that hold several numbers: what a policy would try that wants one response to be right for many problems.
import { type Random, randomInteger, randomStream } from '../../../lib/base/random.js';

const pick = <T>(random: Random, items: readonly T[]): T => items[randomInteger(random, 0, items.length - 1)];

/** What stands between two numbers. */
const BETWEEN = [
  ...[
    '\\approx ',
    '=',
    '\\approx',
    '\\simeq ',
    '\\cong ',
    '\\equiv ',
    '\\sim ',
    '\\to ',
    '\\rightarrow ',
    '\\Rightarrow ',
  ],
  ...[
    '\\implies ',
    '\\iff ',
    ',',
    ', ',
    ';',
    ' ; ',
    ' or ',
    '\\text{ or }',
    ' and ',
    '\\text{ and }',
    '\\lor ',
    '\\vee ',
  ],
  ...[
    '\\land ',
    '\\cup ',
    '\\cap ',
    '\\setminus ',
    '\\pm ',
    '\\mp ',
    '<',
    '>',
    '\\le ',
    '\\ge ',
    '\\ne ',
    ':',
    '/',
    '|',
  ],
  ...[
    '\\mid ',
    '\\quad ',
    '\\qquad ',
    '\\ ',
    '\\;',
    '~',
    ' ',
    '\\,',
    '{,}',
    '\\!',
    '-',
    '--',
    '\\ldots ',
    '\\text{ to }',
  ],
  ...[
    '\\\\',
    '&',
    '\\text{ through }',
    '\\text{ / }',
    '\\text{, }',
    '. ',
    '\\in ',
    '\\subset ',
    '\\div ',
    '\\,\\text{or}\\,',
  ],
  ...[
    '\\approx x\\approx ',
    '=x=',
    ', x=',
    '\\quad x=',
    ' or x=',
    '\\text{ or }x=',
    '\\vdots ',
    '\\hspace{1cm}',
    '\\doteq ',
  ],
  ...['\\text{ apples }', '\\text{ cm }', '_', '^{}', '\\%', '\\%,', '^\\circ ', '\\text{ is }', '; x=', ')('],
];
const AROUND = [
  ...['@', '(@)', '[@]', '\\{@\\}', '[@)', '\\left(@\\right]', '|@|', '\\text{@}', '\\mathrm{@}', '\\boxed{@}', '$@$'],
  ...[
    'x=@',
    'x\\approx @',
    'x\\in @',
    'x\\in\\{@\\}',
    'f(x)=@',
    '\\text{Answer: }@',
    '\\text{Total}: @',
    '(B) @',
    '@.',
  ],
  ...[
    '\\{x : x=@\\}',
    '\\{k\\mid k\\in\\{@\\}\\}',
    '\\pm @',
    '@\\text{ cm}',
    '@\\%',
    '@^\\circ',
    '@\\text{ million}',
    '\\min@',
  ],
  ...[
    '\\begin{pmatrix}@\\end{pmatrix}',
    '\\begin{cases}@\\end{cases}',
    '\\begin{aligned}@\\end{aligned}',
    'x\\ne @',
    '@=@',
  ],
  ...[
    '\\underline{@}',
    '\\overline{@}',
    '\\sqrt{@}',
    '@!',
    '\\frac{@}{1}',
    '1\\cdot(@)',
    '\\text{about }@',
    '\\therefore @',
    'x<@',
  ],
];

function nested(random: Random, numbers: () => string, depth: number): string {
  if (depth === 0) return numbers();
  const parts = Array.from({ length: randomInteger(random, 2, depth === 1 ? 24 : 3) }, () =>
    nested(random, numbers, depth - 1),
  );
  const same = random() < 0.7 ? pick(random, BETWEEN) : undefined;
  const joined = parts.reduce((all, part) => `${all}${same ?? pick(random, BETWEEN)}${part}`);
  return random() < 0.5 ? joined : pick(random, AROUND).replace(/@/g, () => joined);
}

/** A text that holds many of the numbers 0 .. 999, or numbers near them. */
export function hedge(seed: number, index: number): string {
  const random = randomStream(seed, 'hedge', index);
  let next = randomInteger(random, 0, 999);
  const step = pick(random, [1, 1, 1, 7, 37]);
  const tail = pick(random, ['', '', '', '.0', '.4', '.5', '.999', '\\pi/3.14159', '\\frac12', '\\sqrt2/1.41421']);
  const numbers = () => {
    next = (next + step) % 1000;
    return `${next}${random() < 0.5 ? tail : ''}`;
  };
  return nested(random, numbers, randomInteger(random, 1, 2));
}

/** One separator between plain numbers, wherever it may be: right for none of them, unless it says one value. */
export function plainHedges(numbers: readonly string[]): string[] {
  return BETWEEN.flatMap((between) => {
    const joined = numbers.join(between);
    return AROUND.map((around) => around.replace(/@/g, () => joined));
  });
}
