// Random expressions against values that are computed here, in integers.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Random, randomInteger, randomStream } from '../../../lib/base/random.js';
import { sameMath } from '../../../lib/tasks/verify/judge.js';

/** n / d */
interface Made {
  latex: string;
  n: bigint;
  d: bigint;
}

function made(random: Random, depth: number): Made {
  if (depth === 0) {
    const n = randomInteger(random, 1, 20);
    return { latex: String(n), n: BigInt(n), d: 1n };
  }
  const a = made(random, depth - 1);
  const b = made(random, randomInteger(random, 0, depth - 1));
  const brackets = random() < 0.5 ? ['\\left(', '\\right)'] : ['(', ')'];
  const [p, q] = [a, b].map(({ latex }) => brackets.join(latex));
  switch (randomInteger(random, 0, 5)) {
    case 0:
      return { latex: `${p}+${q}`, n: a.n * b.d + b.n * a.d, d: a.d * b.d };
    case 1:
      return { latex: `${p}-${q}`, n: a.n * b.d - b.n * a.d, d: a.d * b.d };
    case 2:
      return { latex: `${p}${random() < 0.5 ? '\\cdot ' : ''}${q}`, n: a.n * b.n, d: a.d * b.d };
    case 3:
      return b.n === 0n ? a : { latex: `\\frac{${a.latex}}{${b.latex}}`, n: a.n * b.d, d: a.d * b.n };
    case 4:
      return { latex: `${p}^2`, n: a.n * a.n, d: a.d * a.d };
    default:
      return { latex: `-${p}`, n: -a.n, d: a.d };
  }
}

const arithmetic = suite('random expressions');
arithmetic('are their value, and no other', () => {
  for (let i = 0; i < 300; i++) {
    const random = randomStream('expressions', i);
    const { latex, n, d } = made(random, randomInteger(random, 1, 4));
    assert.ok(sameMath(latex, `\\frac{${n}}{${d}}`), `${latex} = ${n}/${d}`);
    assert.ok(sameMath(`\\frac{${n}}{${d}}`, latex), `${n}/${d} = ${latex}`);
    assert.not(sameMath(latex, `\\frac{${n + 1n}}{${d}}`), `${latex} = ${n}/${d}`);
  }
});
arithmetic('polynomials are the product of their factors, and of no others', () => {
  for (let i = 0; i < 100; i++) {
    const random = randomStream('polynomials', i);
    const factors = Array.from({ length: randomInteger(random, 2, 5) }, () => [
      randomInteger(random, 1, 5),
      randomInteger(random, 1, 9) * (random() < 0.5 ? -1 : 1),
    ]);
    const linear = ([a, b]: number[]) => `(${a === 1 ? '' : a}x${b < 0 ? '' : '+'}${b})`;
    // c[k] of x^k
    const c = factors.reduce(
      (product, [a, b]) => {
        const next = new Array<number>(product.length + 1).fill(0);
        product.forEach((value, k) => {
          next[k] += b * value;
          next[k + 1] += a * value;
        });
        return next;
      },
      [1],
    );
    const expanded = (of: number[]) =>
      of
        .map((value, k) => `${value < 0 ? '' : '+'}${value}x^${k}`)
        .reverse()
        .join('')
        .replace(/^\+/, '');
    const product = factors.map(linear).join('');
    assert.ok(sameMath(expanded(c), product), `${expanded(c)} = ${product}`);
    assert.ok(sameMath(`y=${expanded(c)}`, `${product}-y=0`), `y = ${product}`);
    const at = randomInteger(random, 0, c.length - 1);
    assert.not(
      sameMath(expanded(c.map((value, k) => value + (k === at ? 1 : 0))), product),
      `${product} with another x^${at}`,
    );
  }
});
arithmetic.run();
