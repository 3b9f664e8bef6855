// examples/word-problems.mjs as a user runs it: the forms that people download, steps of equations, copies and leaks.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../lib/kernels/native.js';

const folder = mkdtempSync(join(tmpdir(), 'prl-word-problems-'));
const script = join(packageRoot, 'examples', 'word-problems.mjs');

type Row = { [field: string]: unknown };

/** Runs the script on files. @returns its exit status, what it printed, and the rows of the files that it wrote */
function make(sources: { [file: string]: string | Row[] }, ...options: string[]) {
  const [input, output] = ['in', 'out'].map((name) => mkdtempSync(join(folder, name)));
  for (const [name, content] of Object.entries(sources)) {
    const text = typeof content === 'string' ? content : content.map((row) => JSON.stringify(row)).join('\n');
    writeFileSync(join(input, name), text);
  }
  const files = Object.keys(sources).map((name) => join(input, name));
  const run = spawnSync(process.execPath, [script, output, ...files, ...options], { encoding: 'utf8' });
  const read = (name: string): Row[] =>
    readFileSync(join(output, name), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  return {
    ...run,
    rows: Object.fromEntries(readdirSync(output).map((name) => [name.replace('.jsonl', ''), read(name)])),
  };
}

const NAMES = ['Ann', 'Bob', 'Cleo', 'Dan', 'Eve', 'Finn'];
/** n problems with numbers of their own. */
const mawps = (n: number): Row[] =>
  Array.from({ length: n }, (_, i) => ({
    input: `${NAMES[i % 6]} has ${i + 2} pens . He gets 3 more . How many now ?`,
    target: i + 5,
  }));
const svamp = (n: number): Row[] =>
  Array.from({ length: n }, (_, i) => ({
    ID: `chal-${i}`,
    Body: `${NAMES[i % 6]} had ${i + 30} stamps. He lost 11 of them`,
    Question: 'How many stamps does he have?',
    Equation: `( ${i + 30}.0 - 11.0 )`,
    Answer: i + 19,
    Type: 'Subtraction',
  }));
const solution = (text: string) => ({ question: `How many? ${text.length} of ${text}`, answer: text });

const data = suite('word-problems.mjs');
data.after(() => rmSync(folder, { recursive: true }));

data('the three sets, as people download them, become demonstrations, training problems and tests', () => {
  const gsm8k = [
    solution('Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips.\n#### 1,072'),
    solution('2+3 = $<<2+3=5>>5\n#### 5'),
    solution('A very long solution that nobody needs, with many, many words.\n#### 9'),
  ];
  const { status, stderr, stdout, rows } = make(
    { 'mawps.jsonl': mawps(12), 'SVAMP.json': JSON.stringify(svamp(10)), 'train.jsonl': gsm8k },
    ...['--held-out', '4', '--solutions', '2'],
  );
  assert.is(status, 0, stderr);
  assert.equal(Object.keys(rows).sort(), ['demonstrations', 'mawps-test', 'svamp-test', 'train']);
  assert.equal([rows['mawps-test'].length, rows['svamp-test'].length, rows.train.length], [4, 4, 8 + 6]);
  const questions = [...rows['mawps-test'], ...rows['svamp-test'], ...rows.train].map(({ question }) => question);
  assert.is(new Set(questions).size, 22);
  assert.ok(questions.includes('Bob has 3 pens. He gets 3 more. How many now?'), 'spaces before punctuation go');
  assert.ok(questions.includes('Ann had 30 stamps. He lost 11 of them. How many stamps does he have?'));
  for (const row of rows.train) assert.equal(Object.keys(row), ['question', 'answer']);

  // Demonstrations of the problems that are not held out, and the two shortest solutions.
  assert.is(rows.demonstrations.length, 8 + 6 + 2);
  const held = new Set(rows['svamp-test'].map(({ question }) => question));
  for (const { prompt, completion } of rows.demonstrations.slice(0, 8)) {
    const first = Number(/\d+/.exec(prompt as string));
    assert.is(completion, ` ${first} + 3 = ${first + 3}\n#### ${first + 3}`);
  }
  for (const { prompt, completion } of rows.demonstrations.slice(8, 14)) {
    assert.not(held.has(prompt));
    const first = Number(/\d+/.exec(prompt as string));
    assert.is(completion, ` ${first} - 11 = ${first - 11}\n#### ${first - 11}`);
  }
  assert.equal(
    rows.demonstrations.slice(14).map(({ completion }) => completion),
    [' 2+3 = $5\n#### 5', ' A very long solution that nobody needs, with many, many words.\n#### 9'],
  );
  assert.match(stdout, /MAWPS: 12 problems, 0 copies left out, 4 held out/);
  assert.match(stdout, /train\.jsonl: 14 rows/);
});

data('the same files and seed give the same rows; another seed holds others out', () => {
  const sources = { 'a.jsonl': mawps(30), 'b.jsonl': svamp(30) };
  const [first, again, other] = ['7', '7', '8'].map((seed) => make(sources, '--held-out', '10', '--seed', seed).rows);
  assert.equal(first, again);
  assert.not.equal(first['mawps-test'], other['mawps-test']);
  assert.not.equal(first['svamp-test'], other['svamp-test']);
  const half = make(sources, '--held-out', '10', '--seed', '7', '--demonstrated', '.5').rows;
  assert.equal([half.train, half.demonstrations.length], [first.train, 20]);
});

data(
  'equations become a line per operation, innermost first; those without a short decimal are no demonstrations',
  () => {
    const cases: [equation: string, answer: number | string, completion?: string][] = [
      ['( ( 3.0 + 4.0 ) * 2.0 )', 14, '3 + 4 = 7\n7 * 2 = 14\n#### 14'],
      ['( 40.0 - ( 15.0 + 9.0 ) )', '16.0', '15 + 9 = 24\n40 - 24 = 16\n#### 16'],
      ['2 + 3 * 4 - 1', 13, '3 * 4 = 12\n2 + 12 = 14\n14 - 1 = 13\n#### 13'],
      ['( 7.0 / 2.0 )', 3.5, '7 / 2 = 3.5\n#### 3.5'],
      ['( 0.1 + 0.2 )', 0.3, '0.1 + 0.2 = 0.3\n#### 0.3'],
      ['( 10.0 / 3.0 )', 3.3333],
      ['( 5.0 - 2.0 )', 4],
      ['( 5.0 - 2.0', 3],
      ['5.0 - x', 3],
    ];
    const problems = cases.map(([Equation, Answer], i) => ({ Body: `Case ${i}`, Question: 'What?', Equation, Answer }));
    const { rows } = make({ 'svamp.jsonl': problems }, '--held-out', '0');
    const shown = new Map(rows.demonstrations.map(({ prompt, completion }) => [prompt, completion]));
    for (const [i, [equation, , completion]] of cases.entries())
      assert.is(shown.get(`Case ${i}. What?`), completion && ` ${completion}`, equation);
    assert.is(rows.train.length, cases.length, 'they are problems all the same');
    assert.is(rows.train[1].answer, '16');
  },
);

data('copies go, whatever their spaces and small words are; other questions about the same numbers stay', () => {
  const text =
    'Tim stacked bales in the barn today. There were 28 bales of hay. There are now 54. How many did he store?';
  const sums = (targets: number[]) =>
    targets.map((target, i) => ({ input: text.replace('bales in', i ? 'more bales in' : 'bales in'), target }));
  const { rows, stdout } = make(
    {
      'mawps.jsonl': [
        ...sums([26, 26]),
        { input: text.replaceAll('.', ' .').toUpperCase(), target: 26.0 },
        ...sums([82]),
      ],
      'train.jsonl': [{ question: text, answer: '54-28=<<54-28=26>>26\n#### 26' }, solution('1+1=2\n#### 2')],
    },
    ...['--held-out', '0'],
  );
  assert.equal(
    rows.train.map(({ answer }) => answer),
    ['26', '82'],
  );
  assert.equal(
    rows.demonstrations.map(({ completion }) => completion),
    [' 54 - 28 = 26\n#### 26', ' 28 + 54 = 82\n#### 82', ' 1+1=2\n#### 2'],
    'a copy in another set goes too',
  );
  assert.match(stdout, /MAWPS: 2 problems, 2 copies/);
});

data("MAWPS' own form is read too", () => {
  const row = {
    iIndex: 1,
    sQuestion: 'Joan has 70 shells and 27 more .  How many ?',
    lEquations: ['X=70+27'],
    lSolutions: [97.0],
  };
  const written = { ...row, sQuestion: 'Some or 9 or 8 or 7 ?', lEquations: ['x = (9-7)'], lSolutions: [2] };
  const { rows } = make({ 'AddSub.json': JSON.stringify([row, written]) }, '--held-out', '0');
  const question = 'Joan has 70 shells and 27 more. How many?';
  assert.equal(rows.train[0], { question, answer: '97' });
  assert.equal(rows.demonstrations, [
    { prompt: question, completion: ' 70 + 27 = 97\n#### 97' },
    { prompt: 'Some or 9 or 8 or 7?', completion: ' 9 - 7 = 2\n#### 2' },
  ]);
});

data('without an equation, the only formula of the numbers that gives the answer is the demonstration', () => {
  const cases: [numbers: string, answer: number, completion?: string][] = [
    ['5 and 3', 2, '5 - 3 = 2\n#### 2'],
    ['3 and 5', 2, '5 - 3 = 2\n#### 2'],
    ['1,200 and 3', 400, '1200 / 3 = 400\n#### 400'],
    ['13, 5 and 10', 8], // 13 - 5 too
    ['32, 42 and 35', 39, '32 + 42 = 74\n74 - 35 = 39\n#### 39'],
    ['50, 7 and 6', 8],
    ['4, 3 and 7', 49, '4 + 3 = 7\n7 * 7 = 49\n#### 49'],
    ['2 and 2', 4], // 2 + 2 and 2 * 2
    ['6', 6],
    ['1, 2, 3 and 4', 10],
  ];
  const input = (numbers: string, i: number) => `${'abcdefghij'[i]} ${'klmnopqrst'[i]} has ${numbers} .`;
  const { rows } = make(
    { 'a.jsonl': cases.map(([numbers, target], i) => ({ input: input(numbers, i), target })) },
    ...['--held-out', '0'],
  );
  const shown = new Map(rows.demonstrations.map(({ prompt, completion }) => [prompt, completion]));
  for (const [i, [numbers, , completion]] of cases.entries()) {
    assert.is(shown.get(input(numbers, i).replace(' .', '.')), completion && ` ${completion}`, numbers);
  }
});

data('what cannot be used is refused with its place', () => {
  const refused = (sources: { [file: string]: string | Row[] }, message: RegExp, ...options: string[]) => {
    const { status, stderr } = make(sources, ...options);
    assert.is(status, 1);
    assert.match(stderr, message);
  };
  refused({ 'a.jsonl': '{"input":"x 1","target":1}\n{oops' }, /a\.jsonl:2 is not JSON/);
  refused({ 'a.jsonl': [{ problem: 'x', solution: 'y' }] }, /a\.jsonl, row 1: .*problem,solution/);
  refused({ 'a.jsonl': mawps(5) }, /MAWPS has 5 problems, too few to hold 200 out/);
  refused({ 'a.jsonl': mawps(5) }, /'x' must be a whole number/, '--seed', 'x');
  refused({ 'a.jsonl': mawps(5) }, /share from 0 to 1, not '2'/, '--demonstrated', '2');
  refused({}, /word-problems\.mjs OUTPUT FILE/);
  const { stdout, rows } = make({ 'a.jsonl': [...mawps(2), { input: 'And 1?', target: 'many' }] }, '--held-out', '0');
  assert.match(stdout, /1 without a number as answer left out/);
  assert.is(rows.train.length, 2);
});

data.run();
