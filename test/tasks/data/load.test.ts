import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteFile } from 'hyparquet-writer';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { characterTokenizer, type DatasetOptions, describeReport, loadDataset } from '../../../lib/index.js';
import { rejectsWith } from '../../policy/rejects.js';

const root = mkdtempSync(join(tmpdir(), 'prl-data-'));
let count = 0;
function file(extension: string, contents: string | Uint8Array): string {
  const path = join(root, `${count++}.${extension}`);
  writeFileSync(path, contents);
  return path;
}
const lines = (...rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const pairs = async (path: string | string[], options?: DatasetOptions) =>
  (await loadDataset(path, options)).problems.map(({ prompt, answer }) => [prompt, answer]);

const load = suite('loadDataset');
load.after(() => rmSync(root, { recursive: true, force: true }));

const EXPECTED = [
  ['What is 1 + 1, "exactly"?', '2'],
  ['Zwei,\ndrei → ∑', '0.5'],
  ['Third?', '\\frac{1}{2}'],
];

load('every format gives the same problems', async () => {
  const rows = EXPECTED.map(([problem, answer], i) => ({ extra: i, problem, answer }));
  const csv = (comma: string) =>
    ['problem', 'answer', 'extra'].join(comma) +
    EXPECTED.map(([p, a]) => `\r\n"${p.replaceAll('"', '""')}"${comma}${a}${comma}`).join('');
  assert.equal(await pairs(file('jsonl', lines(...rows))), EXPECTED);
  assert.equal(
    await pairs(file('ndjson', `\ufeff${lines(...rows).replaceAll('\n', '\r\n')}\r\n`)),
    EXPECTED,
    'BOM, CRLF',
  );
  assert.equal(await pairs(file('jsonl', lines(...rows).trimEnd())), EXPECTED, 'no newline at the end');
  assert.equal(await pairs(file('json', `\ufeff${JSON.stringify(rows, null, 2)}`)), EXPECTED);
  assert.equal(await pairs(file('json', JSON.stringify({ version: 1, data: rows }))), EXPECTED);
  assert.equal(await pairs(file('csv', `\ufeff${csv(',')}`)), EXPECTED);
  assert.equal(await pairs(file('tsv', csv('\t'))), EXPECTED);
  for (const codec of ['UNCOMPRESSED', 'SNAPPY'] as const) {
    const path = join(root, `${codec}.parquet`);
    const column = (name: string, data: string[]) => ({ name, data, type: 'STRING' as const });
    parquetWriteFile({
      filename: path,
      codec,
      rowGroupSize: 2,
      columnData: [
        column(
          'problem',
          EXPECTED.map(([p]) => p),
        ),
        column(
          'answer',
          EXPECTED.map(([, a]) => a),
        ),
      ],
    });
    assert.equal(await pairs(path), EXPECTED, codec);
  }
});

load('several files are one dataset in their order, and a folder stands for the files of its split', async () => {
  const folder = join(root, 'folder');
  mkdirSync(join(folder, 'data'), { recursive: true });
  const write = (name: string, problem: string) => writeFileSync(join(folder, name), lines({ problem, answer: '1' }));
  write('data/train-00001-of-00002.jsonl', 'b');
  write('data/train-00000-of-00002.jsonl', 'a');
  write('data/test-00000-of-00001.jsonl', 'c');
  writeFileSync(join(folder, 'README.md'), 'data');
  writeFileSync(join(folder, 'dataset_infos.json'), '{}');
  assert.equal(await pairs([join(folder, 'data/test-00000-of-00001.jsonl'), folder]), [
    ['c', '1'],
    ['a', '1'],
    ['b', '1'],
  ]);
  assert.equal(await pairs(folder, { split: 'test' }), [['c', '1']]);
  await rejectsWith(
    loadDataset(folder, { split: 'valid' }),
    Error,
    'ERR_PRL_NOT_FOUND',
    /split 'valid'.*data\/test-00000/,
  );
  write('data/train-other.jsonl', 'd');
  await rejectsWith(loadDataset(folder), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /several datasets.*train-other/);
  assert.equal(await pairs(folder, { config: 'other' }), [['d', '1']]);
});

load('fields are found by name and dotted path, in chats too, and absent ones are named', async () => {
  const path = file(
    'jsonl',
    lines({
      prompt: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Why?' },
      ],
      reward_model: { ground_truth: ['$2$', 3] },
      extra_info: { index: 7, 'kind.of': 'hard' },
      'flat.name': 5,
    }),
  );
  const options = { answerField: 'reward_model.ground_truth', idField: 'extra_info.index', levelField: 'flat.name' };
  const { problems } = await loadDataset(path, options);
  assert.equal(problems, [{ prompt: 'Why?', system: 'Be brief.', answer: '$2$, 3', id: '7', level: '5' }]);
  assert.equal(await pairs(path, { answerField: 'reward_model.ground_truth.1' }), [['Why?', '3']]);
  await rejectsWith(loadDataset(path), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /answer.*reward_model.*answerField/);
  await rejectsWith(
    loadDataset(path, { answerField: 'reward_model.gold' }),
    Error,
    'ERR_PRL_CORRUPT',
    /0*\.jsonl:1: 'reward_model.gold' is missing/,
  );
  await rejectsWith(
    loadDataset(path, { answersField: 'a' } as object),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /answerField/,
  );
});

load('answers come from GSM8K lines, boxed solutions or the whole field', async () => {
  const answer = async (text: unknown, options: DatasetOptions = {}) =>
    (await loadDataset(file('jsonl', lines({ question: 'q', answer: text })), options)).problems[0].answer;
  assert.is(await answer('She has 3 + 4 = <<3+4=7>>7.\n#### 7,000 '), '7,000');
  assert.is(await answer('so\n\\[ s=\\boxed{\\frac{1}{\\{2\\}}} \\mathrm{~cm} \\] not \\boxed{'), '\\frac{1}{\\{2\\}}');
  assert.is(await answer('a #### b'), 'a #### b', 'no line of its own');
  assert.is(await answer('a #### b', { answerFrom: 'hashes' }), 'b');
  assert.is(await answer('\\boxed{1}', { answerFrom: 'field' }), '\\boxed{1}');
  assert.is(await answer(27.0), '27');
  assert.is(await answer(-0.25), '-0.25');
  await rejectsWith(answer('7', { answerFrom: 'boxed' }), Error, 'ERR_PRL_CORRUPT', /:1: 'answer' has no \\boxed/);
  await rejectsWith(answer('7', { answerFrom: 'hashes' }), Error, 'ERR_PRL_CORRUPT', /####/);
  await rejectsWith(answer(2 ** 60), Error, 'ERR_PRL_CORRUPT', /more digits/);
  for (const lossy of ['0.1234567890123456789', '-9007199254740993', '1e400', '[1, 3.14159265358979323846]'])
    for (const path of [
      file('jsonl', `{"question": "a 0.1234567890123456789", "answer": ${lossy}}\n`),
      file('json', `[{"question": "q", "answer": ${lossy}}]`),
    ])
      await rejectsWith(loadDataset(path), Error, 'ERR_PRL_CORRUPT', /'answer.*' (has more digits|must be a text)/);
  for (const [exact, text] of [
    ['0.30000000000000004', '0.30000000000000004'],
    ['1.000000000000000000e0', '1'],
    ['-0.10000000000000000', '-0.1'],
    ['"0.1234567890123456789"', '0.1234567890123456789'],
    ['1e-7', '1e-7'],
    ['5e-324', '5e-324'],
  ])
    assert.equal(await pairs(file('jsonl', `{"question": "\\"0.12345678901234567890", "answer": ${exact}}`)), [
      ['"0.12345678901234567890', text],
    ]);
  assert.equal(await pairs(file('csv', 'question,answer\nq,0.1234567890123456789\n')), [
    ['q', '0.1234567890123456789'],
  ]);
  await rejectsWith(answer('#### '), Error, 'ERR_PRL_CORRUPT', /empty/);
  const start = performance.now();
  assert.is((await answer('\\boxed{'.repeat(200_000))).length, 1_400_000, 'unclosed boxes take no time');
  assert.ok(performance.now() - start < 2000);
});

load('duplicates differ in white space, line ends and Unicode form only, and are counted', async () => {
  const rows = ['2 + 2 = é?', ' 2  + 2 = e\u0301?\r\n', '2 + 2 = \u200bé?', '2+2 = é?'];
  const path = file('jsonl', lines(...rows.map((question, i) => ({ question, answer: i < 2 ? '4' : '5' }))));
  const { problems, report } = await loadDataset(path);
  assert.equal(
    problems.map(({ prompt }) => prompt),
    [rows[0], rows[3]],
  );
  assert.is(report.dropped.duplicate.count, 2);
  assert.is(report.conflicting, 1);
});

load('the answer of a solution is what it says at its end, never the text', async () => {
  const row = (solution: string) => file('jsonl', lines({ problem: 'q', solution, type: 't', idx: 0 }));
  const answer = async (solution: string, options: DatasetOptions = {}) =>
    (await loadDataset(row(solution), options)).problems[0].answer;
  for (const [solution, expected] of [
    ['First \\boxed{1}.\nThen \\[ s=\\boxed{1.6} \\mathrm{~cm} \\]\nThat is all.', '1.6'],
    ['3 + 4 = 7\n#### 7', '7'],
    ['It is so.\nAnswer: $\\frac12$.', '\\frac12'],
    ['It is so.\n\n$x^2$\n', '$x^2$'],
    ['It is so.\n-1,234.5', '-1,234.5'],
    ['42', '42'],
    ['(-1, 2) and (3, 4)', '(-1, 2) and (3, 4)'],
  ])
    assert.is(await answer(solution), expected, solution);
  for (const solution of [
    'It is so.\nThat is all.',
    'We add the two numbers and are done.',
    'a'.repeat(101),
    '\\boxed{',
  ])
    await rejectsWith(
      answer(solution),
      Error,
      'ERR_PRL_CORRUPT',
      /:1: 'solution' says no final answer.*onInvalid 'drop'/,
    );
  assert.is(await answer('It is so.\nThat is all.', { answerFrom: 'field' }), 'It is so.\nThat is all.');
  assert.is(await answer('thus \\boxed{9}', { answerFrom: 'boxed' }), '9');
  const { report } = await loadDataset(
    file('jsonl', lines({ problem: 'a', solution: '1' }, { problem: 'b', solution: 'is not\nsaid' })),
    {
      onInvalid: 'drop',
    },
  );
  assert.equal([report.kept, report.dropped.invalid.count], [1, 1]);
});

load('the layouts of public benchmarks load without an option', async () => {
  for (const [name, row, prompt, answer] of [
    [
      'MATH',
      { problem: 'p', level: 'Level 5', type: 'Algebra', solution: 'So $x=\\boxed{\\frac{1}{2}}$.' },
      'p',
      '\\frac{1}{2}',
    ],
    ['MATH-500', { problem: 'p', solution: 's \\boxed{8}', answer: '7', subject: 'Algebra', unique_id: 'u' }, 'p', '7'],
    ['Minerva', { problem: 'p', solution: '\\[ s=\\boxed{1.6} \\mathrm{~cm} \\]', type: 't', idx: 0 }, 'p', '1.6'],
    ['AIME24', { ID: '2024-I-1', Problem: 'p', Solution: 'no box', Answer: 204 }, 'p', '204'],
    ['AIME25', { problem: 'p', answer: '70', id: '0' }, 'p', '70'],
    ['AMC', { id: 0, problem: 'p', answer: 27.0, url: 'u', question: 'q' }, 'p', '27'],
    [
      'OlympiadBench',
      { context: null, question: 'p', solution: ['s'], final_answer: ['2', '3'], error: null },
      'p',
      '2, 3',
    ],
    [
      'OlympiadBench with a context',
      { context: 'Let $x = 1$.', question: 'p', final_answer: ['2'] },
      'Let $x = 1$. p',
      '2',
    ],
    ['DeepScaleR', { problem: 'p', answer: '-\\frac{2}{3}', solution: 's' }, 'p', '-\\frac{2}{3}'],
    ['NuminaMath', { source: 'olympiads', problem: 'p', solution: 'so $\\boxed{3}$', messages: [] }, 'p', '3'],
    ['GSM8K', { question: 'p', answer: 'Natalia sold <<48/2=24>>24.\n#### 72' }, 'p', '72'],
    [
      'SVAMP',
      { Answer: 145.0, Question: 'How big?', Equation: '( 290.0 / 2.0 )', Body: 'There are 87' },
      'There are 87. How big?',
      '145',
    ],
    ['MAWPS', { input: 'p', target: 43.0 }, 'p', '43'],
    ['Big-Math', { problem: 'p', answer: '5', source: 's', domain: ['d'], llama8b_solve_rate: 0.5 }, 'p', '5'],
  ] as const)
    assert.equal(await pairs(file('jsonl', lines(row))), [[prompt, answer]], name);
  const dapo = {
    data_source: 'math_dapo',
    prompt: [{ role: 'user', content: 'p' }],
    reward_model: { ground_truth: '34' },
  };
  assert.equal(await pairs(file('jsonl', lines(dapo)), { answerField: 'reward_model.ground_truth' }), [['p', '34']]);
  const csv = file('csv', 'Question,Body,Answer\nHow big?,There are 87?,145\n');
  assert.equal(await pairs(csv), [['There are 87? How big?', '145']]);
  assert.equal(await pairs(csv, { promptField: 'Question' }), [['How big?', '145']]);
});

load('an unusable row is an error with its line, or is dropped and counted', async () => {
  const good = lines({ problem: 'a', answer: '1' });
  const bad: [string, RegExp][] = [
    ['{"problem": "b", "ans', /:2: it is not JSON/],
    ['[1]', /:2: a row must be an object .* not an array/],
    ['{"problem": "b"}', /:2: 'answer' is missing/],
    ['{"problem": "", "answer": "1"}', /:2: 'problem' is empty/],
    ['{"problem": "b", "answer": {"x": 1}}', /:2: 'answer' must be a text, not an object/],
    ['{"problem": "b", "answer": null}', /:2: 'answer' must be a text, not null/],
    ['{"problem": "b", "answer": " "}', /:2: 'answer' is empty/],
    ['{"problem": "b", "answer": "\\\\boxed{ }"}', /:2: 'answer' holds an empty answer/],
  ];
  // Every one of them says how to step over it.
  for (const entry of bad) entry[1] = new RegExp(`${entry[1].source}.*. onInvalid 'drop' leaves such rows out`);
  for (const [line, message] of bad)
    await rejectsWith(loadDataset(file('jsonl', `${good}${line}\n`)), Error, 'ERR_PRL_CORRUPT', message);
  const all = file('jsonl', `${good}${bad.map(([line]) => `${line}\n`).join('')}${lines({ problem: 'z', answer: 2 })}`);
  const { report, problems } = await loadDataset(all, { onInvalid: 'drop' });
  assert.is(report.dropped.invalid.count, 8);
  assert.is(report.dropped.invalid.first, `${all}:2`);
  assert.equal(
    problems.map(({ prompt }) => prompt),
    ['a', 'z'],
  );
  assert.is(report.rows, 10);
  assert.match(describeReport(report), /^2 of 10 rows kept, 8 invalid \(first: .*:2\)$/);
});

load('length limits, filter and duplicates drop and count rows, or are an error', async () => {
  const path = file(
    'jsonl',
    lines(
      { problem: '12', answer: '3', keep: true },
      { problem: '123456', answer: '3', keep: true },
      { problem: '13', answer: '12345', keep: true },
      { problem: '14', answer: '55', keep: false },
      { problem: '12', answer: '3', keep: true },
      { problem: '12', answer: '4', keep: true },
      { problem: '15', answer: '6', keep: true },
    ),
  );
  const tokenizer = characterTokenizer('0123456789');
  const options: DatasetOptions = {
    promptTemplate: '0{prompt}',
    tokenizer,
    maxPromptLength: 6,
    maxAnswerLength: 4,
    filter: async (_, row) => row.keep === true,
  };
  const { report, problems } = await loadDataset(path, options);
  assert.equal(
    problems.map(({ prompt }) => prompt),
    ['12', '15'],
  );
  const counts = Object.fromEntries(Object.entries(report.dropped).map(([reason, { count }]) => [reason, count]));
  assert.equal(counts, { 'prompt too long': 1, 'answer too long': 1, filter: 1, duplicate: 2 });
  assert.is(report.conflicting, 1);
  assert.match(describeReport(report), /2 duplicate \(1 with another answer\) \(first: .*:5\)/);
  const strict = (more: DatasetOptions) => loadDataset(path, { ...more, onFiltered: 'error' });
  await rejectsWith(strict(options), Error, 'ERR_PRL_CORRUPT', /:2: the prompt has 7 tokens, more than 6/);
  await rejectsWith(strict({ minAnswerLength: 2 }), Error, 'ERR_PRL_CORRUPT', /:1: the answer has 1 characters/);
  await rejectsWith(strict({}), Error, 'ERR_PRL_CORRUPT', /:5: the same problem came before/);
  await rejectsWith(loadDataset(path, { maxPromptLength: 5 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /tokenizer/);
  await rejectsWith(
    loadDataset(path, { filter: () => false }),
    Error,
    'ERR_PRL_CORRUPT',
    /no usable problem.*0 of 7 rows kept/,
  );
});

load('the fingerprint depends on the problems, not on the file they come from', async () => {
  const rows = [
    { problem: 'a', answer: '1' },
    { problem: 'b', answer: '2' },
  ];
  const print = async (path: string, options?: DatasetOptions) => (await loadDataset(path, options)).fingerprint;
  const first = await print(file('jsonl', lines(...rows)));
  assert.match(first, /^[0-9a-f]{64}$/);
  assert.is(await print(file('json', JSON.stringify(rows))), first);
  assert.is.not(await print(file('jsonl', lines(rows[1], rows[0]))), first, 'the order decides what a step sees');
  assert.is.not(await print(file('jsonl', lines(rows[0], { problem: 'b', answer: '3' }))), first);
  assert.is.not(await print(file('jsonl', lines(rows[0]))), first);
});

load('loadDataset stops on abort and reports rising progress', async () => {
  const many = file('jsonl', Array.from({ length: 2000 }, (_, i) => lines({ problem: `p${i}`, answer: '1' })).join(''));
  await rejectsWith(loadDataset(many, { signal: AbortSignal.abort() }), Error, 'ERR_PRL_ABORTED', /aborted/);
  const seen: number[] = [];
  await loadDataset(many, { onProgress: ({ rows }) => seen.push(rows) });
  assert.ok(seen.length >= 5 && seen.every((rows, i) => i === 0 || rows > seen[i - 1]));
});

load.run();
