import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type DatasetEvaluationOptions,
  type EvaluationRecord,
  evaluateDatasets,
  exactVerifier,
  mathVerifier,
  PrlError,
  passAtK,
  serve,
  VllmEngine,
} from '../../lib/index.js';
import { packageRoot } from '../../lib/kernels/native.js';
import type { Completion, GenerateOptions } from '../../lib/policy/types.js';
import { digitSets, lastDigit } from '../fakes/digits.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { rejectsWith } from '../policy/rejects.js';
import { near, random } from '../reference/numbers.js';

const root = mkdtempSync(join(tmpdir(), 'prl-evaluate-'));
let count = 0;
const newFile = (lines?: readonly unknown[]) => {
  const file = join(root, `${count++}.jsonl`);
  if (lines)
    writeFileSync(file, lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''));
  return file;
};
const { tokenizer } = echoTask;
const EOS = tokenizer.eosTokenId;

const recordsOf = (file: string): EvaluationRecord[] =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => JSON.parse(line));

/** Responds as `respond` says to the sample-th time that a prompt is asked. */
function scripted(respond: (prompt: string, sample: number) => string) {
  const calls: { prompts: string[]; options: GenerateOptions }[] = [];
  const generate = async (prompts: ArrayLike<number>[], options: GenerateOptions) => {
    const texts = prompts.map((ids) => tokenizer.decode(ids));
    calls.push({ prompts: texts, options });
    options.signal?.throwIfAborted();
    return texts.map((text) => ({
      completions: Array.from({ length: options.n ?? 1 }, (_, sample): Completion => {
        const all = [...tokenizer.encode(respond(text, sample)), EOS];
        const tokens = Int32Array.from(all.slice(0, options.maxNewTokens));
        const finishReason = all.length <= options.maxNewTokens ? 'stop' : 'length';
        return { tokens, finishReason, logProbs: new Float32Array(tokens.length) };
      }),
    }));
  };
  return { policy: { generate }, calls };
}

const OPTIONS = { verifier: lastDigit, tokenizer, n: 4, maxCompletionLength: 8 } as const;
const native = (options: Partial<DatasetEvaluationOptions> = {}) =>
  evaluateDatasets({ ...OPTIONS, sets: digitSets(20, 12), policy: nativePolicy(echoTask), ...options });
const figures = ({ seconds: _, ...rest }: Awaited<ReturnType<typeof evaluateDatasets>>) => rest;

const tests = suite('evaluateDatasets');

tests('evaluateDatasets samples, judges, votes and records every response', async () => {
  // Of four responses to a problem that ends in 1 three say 1; in 3: one; in 5: none, and two say nothing; others go on
  // for ever.
  const says = (prompt: string, sample: number) => {
    const digit = prompt[3];
    if (digit === '1') return sample < 3 ? '71' : '2';
    if (digit === '3') return ['3', '4', '14', '5'][sample];
    if (digit === '5') return sample < 2 ? '\n' : '6';
    return '7'.repeat(50);
  };
  const { policy, calls } = scripted(says);
  const records = newFile();
  const seen: number[] = [];
  const [, odd] = digitSets(1, 4);
  const result = await evaluateDatasets({
    ...OPTIONS,
    ...{
      sets: [odd],
      policy,
      records,
      chunkSize: 3,
      temperature: 0.7,
      topP: 0.9,
      topK: 5,
    },
    onProgress: ({ problems }) => seen.push(problems),
  });
  const [set] = result.sets;
  // 1001: 3 of 4, 1003: 1 of 4, 1005: 0, 1007: its 8 tokens end in 7.
  near([set.averageAtN], [(3 + 1 + 0 + 4) / 16], 1e-15);
  const pass = (k: number) => (passAtK(4, 3, k) + passAtK(4, 1, k) + 0 + 1) / 4;
  near(
    set.passAtK.map(({ value }) => value),
    [1, 2, 4].map(pass),
    1e-15,
  );
  // 3, 4, 14, 5: two votes for 4, whatever 14 is as a number. 5: two votes for 6.
  near([set.majAtN!, set.answeredRatio!, set.clippedRatio], [2 / 4, 14 / 16, 4 / 16], 1e-15);
  // Ends included: 3 3 3 2, 2 2 3 2, 2 2 2 2, 8 8 8 8.
  near([set.meanLength!], [(11 + 9 + 8 + 32) / 16], 1e-15);
  const lines = recordsOf(records);
  assert.equal(
    lines.map(({ set, index, id, prompt, answer, majority }) => [set, index, id, prompt, answer, majority]),
    [
      ['odd', 0, 'odd-0', '1001', '1', { response: 0, votes: 3 }],
      ['odd', 1, 'odd-1', '1003', '3', { response: 1, votes: 2 }],
      ['odd', 2, 'odd-2', '1005', '5', { response: 2, votes: 2 }],
      ['odd', 3, 'odd-3', '1007', '7', { response: 0, votes: 4 }],
    ],
  );
  assert.equal(lines[2].responses, [
    { text: '\n', finished: true, tokens: 2, reward: 0 },
    { text: '\n', finished: true, tokens: 2, reward: 0 },
    { text: '6', finished: true, tokens: 2, reward: 0, answer: '6' },
    { text: '6', finished: true, tokens: 2, reward: 0, answer: '6' },
  ]);
  assert.equal(
    calls.map(({ prompts }) => prompts),
    [['1001', '1003', '1005'], ['1007']],
  );
  const { n, maxNewTokens, temperature, topP, topK, stop } = calls[0].options;
  assert.equal([n, maxNewTokens, temperature, topP, topK, stop], [4, 8, 0.7, 0.9, 5, [EOS]]);
  assert.equal([...new Set(seen)], [0, 3, 4]);
  assert.equal((result.settings.sets as { problems: number }[])[0].problems, 4);
});

tests('each set is asked with the prompt template it was loaded with', async () => {
  const { policy, calls } = scripted(() => '1');
  const [even, odd] = digitSets(2, 1);
  const sets = [{ ...even, prompt: { promptTemplate: '77{prompt}' } }, odd];
  const { settings } = await evaluateDatasets({ ...OPTIONS, sets, policy });
  assert.equal(calls[0].prompts, ['771000', '771002', '1001']);
  assert.equal(
    (settings.prompts as { template: string }[]).map(({ template }) => template),
    ['77{prompt}', '{prompt}'],
  );
});

tests('answers that the verifier holds equal vote together', async () => {
  const problem = { prompt: 'p', answer: '3' };
  const responses = ['\\boxed{\\frac12}', '\\boxed{3}', 'no box', '\\boxed{0.5}', '\\boxed{3}', '\\boxed{}'];
  const file = newFile([{ prompt: 'p', responses }]);
  const run = async (verifier: DatasetEvaluationOptions['verifier']) => {
    const records = newFile();
    const { sets } = await evaluateDatasets({
      sets: [{ name: 'a', problems: [problem] }],
      verifier,
      responses: file,
      records,
    });
    return { ...sets[0], votes: recordsOf(records)[0].majority };
  };
  const math = await run(mathVerifier());
  assert.equal(math.votes, { response: 0, votes: 2 }, 'as many as 3 has, and earlier');
  near([math.majAtN!, math.averageAtN, math.answeredRatio!], [0, 1 / 3, 4 / 6], 1e-15);
  assert.is(math.meanLength, undefined);
  near([math.measures['verify/answered']], [4 / 6], 1e-15);
  const exact = await run(exactVerifier());
  assert.equal(exact.votes, { response: 1, votes: 2 });
  assert.is(exact.majAtN, 1);
  // A half that is no decimal number is an answer all the same, but cannot be right.
  assert.equal((await run('numeric')).votes, { response: 1, votes: 2 });
  assert.is((await run((response, gold) => (response.includes(gold) ? 1 : 0))).majAtN, undefined, 'nothing to vote on');
});

tests('the samples of a problem depend on its text and the seed alone', async () => {
  const [records, part, other] = [newFile(), newFile(), newFile()];
  await native({ records });
  const [even, odd] = digitSets(20, 12);
  const some = { name: 'some', problems: [odd.problems[7], even.problems[3], odd.problems[2]] };
  await native({ sets: [some], records: part, chunkSize: 2 });
  const texts = (file: string) => new Map(recordsOf(file).map(({ prompt, responses }) => [prompt, responses]));
  const all = texts(records);
  for (const [prompt, responses] of texts(part)) assert.equal(responses, all.get(prompt));
  await native({ records: other, seed: 1 });
  const [a, b] = [all, texts(other)].map((each) => JSON.stringify([...each]));
  assert.is.not(a, b);
  // No two problems get the same random numbers.
  assert.is(new Set([...all.values()].map((responses) => JSON.stringify(responses))).size, 32);
});

tests('a server that honours seeds gives the same responses', async () => {
  const [here, there] = [newFile(), newFile()];
  await native({ records: here });
  const server = await serve({ policy: nativePolicy(echoTask), port: 0 });
  try {
    await native({ records: there, policy: new VllmEngine({ urls: server.url }) });
  } finally {
    await server.close();
  }
  assert.is(readFileSync(there, 'utf8'), readFileSync(here, 'utf8'));
});

tests('an evaluation cut off anywhere resumes to the same file and figures', async () => {
  const whole = newFile();
  const result = await native({ records: whole });
  const bytes = readFileSync(whole);
  const next = random(11);
  for (let round = 0; round < 6; round++) {
    const begin = bytes.indexOf(10) + 1;
    const at = round === 0 ? begin : round === 1 ? bytes.length : begin + Math.floor(next() * (bytes.length - begin));
    const broken = newFile();
    writeFileSync(broken, bytes.subarray(0, at) as Uint8Array<ArrayBuffer>);
    assert.equal(figures(await native({ records: broken, resume: true })), figures(result), `cut at ${at}`);
    assert.is(readFileSync(broken, 'utf8'), bytes.toString(), `cut at ${at}`);
  }
  assert.equal(figures(await native()), figures(result), 'without a record');
});

tests('an evaluation killed at random moments ends as if it never was', async () => {
  const child = fileURLToPath(new URL('../fakes/evaluate.ts', import.meta.url));
  const { FORCE_COLOR: _, NO_COLOR: __, ...env } = process.env;
  const next = random(7);
  const run = (file: string, patience: number) =>
    new Promise<{ end: unknown; last: string }>((resolve) => {
      const process_ = spawn(process.execPath, [...process.execArgv, child, file], {
        cwd: packageRoot,
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      let first: number | undefined;
      process_.stdout.on('data', (data) => {
        output += String(data);
        first ??= Number.parseInt(output, 10);
        const done = Number(output.trimEnd().split('\n').pop());
        if (done >= first + patience) setTimeout(() => process_.kill('SIGKILL'), 20 * next());
      });
      process_.once('exit', (code, signal) =>
        resolve({ end: signal ?? code, last: output.trimEnd().split('\n').pop()! }),
      );
    });
  const [whole, broken] = [newFile(), newFile()];
  const { end, last } = await run(whole, Infinity);
  assert.is(end, 0);
  let kills = 0;
  let ended = await run(broken, 8);
  for (; ended.end === 'SIGKILL'; kills++) ended = await run(broken, kills < 3 ? 4 : Infinity);
  assert.ok(kills >= 1, 'it was never killed');
  assert.is(ended.end, 0);
  assert.is(readFileSync(broken, 'utf8'), readFileSync(whole, 'utf8'));
  assert.is(ended.last, last, 'the same figures');
  assert.not.ok(existsSync(`${broken}.lock`));
});

tests('an aborted evaluation keeps what it has judged and resumes from there', async () => {
  const records = newFile();
  const controller = new AbortController();
  const stopped = native({
    records,
    chunkSize: 3,
    signal: controller.signal,
    onProgress: ({ problems }) => problems >= 6 && controller.abort(),
  });
  await rejectsWith(stopped, PrlError, 'ERR_PRL_ABORTED', /abort/);
  const lines = recordsOf(records).length;
  assert.ok(lines >= 6 && lines < 32, `${lines}`);
  const whole = newFile();
  await native({ records: whole, chunkSize: 3 });
  let first: number | undefined;
  await native({ records, chunkSize: 3, resume: true, onProgress: ({ problems }) => (first ??= problems) });
  assert.is(first, lines);
  assert.is(readFileSync(records, 'utf8'), readFileSync(whole, 'utf8'));
  const responses = newFile([{ prompt: 'p', responses: ['x'] }]);
  const given = evaluateDatasets({
    ...{ sets: [{ name: 'a', problems: [{ prompt: 'p', answer: '1' }] }], verifier: lastDigit, responses },
    signal: AbortSignal.abort(),
  });
  await rejectsWith(given, PrlError, 'ERR_PRL_ABORTED', /aborted/);
});

tests('a record of other settings or a broken one is refused and the difference is named', async () => {
  const records = newFile();
  await native({ records, identity: { model: 'a' } });
  const usage = [TypeError, 'ERR_PRL_INVALID_ARGUMENT'] as const;
  await rejectsWith(native({ records, identity: { model: 'a' } }), PrlError, 'ERR_PRL_IO', /already exists: resume/);
  const again = (options: Partial<DatasetEvaluationOptions>) =>
    native({ records, identity: { model: 'a' }, resume: true, ...options });
  const deep = newFile();
  const list = `${'['.repeat(300_000)}${']'.repeat(300_000)}`;
  for (const identity of [list, `{"model":${list}}`, `{"model":{"a":${list}}}`]) {
    writeFileSync(deep, `{"format":"prl-evaluation","version":1,"identity":${identity}}\n`);
    await rejectsWith(again({ records: deep }), ...usage, /collected with settings that are nested too deep/);
  }
  await rejectsWith(again({ seed: 1 }), ...usage, /with seed 0, not 1: choose another file/);
  await rejectsWith(again({ identity: { model: 'b' } }), ...usage, /with identity\.model "a", not "b"/);
  await rejectsWith(again({ topP: 0.5 }), ...usage, /with topP 1, not 0\.5/);
  await rejectsWith(again({ sets: digitSets(20, 13) }), ...usage, /with sets\[1\]\.problems 12, not 13/);
  const lines = readFileSync(records, 'utf8').trimEnd().split('\n');
  const spoiled = (at: number, change: (line: EvaluationRecord) => unknown) => {
    const record = JSON.parse(lines[at]);
    change(record);
    return again({ records: newFile(lines.map((line, i) => (i === at ? record : line))) });
  };
  const corrupt = [PrlError, 'ERR_PRL_CORRUPT'] as const;
  await rejectsWith(
    spoiled(3, (r) => (r.prompt = '9')),
    ...corrupt,
    /:4: problem 2 of "even" must be the same as in the data/,
  );
  await rejectsWith(
    spoiled(3, (r) => (r.set = 'none')),
    ...corrupt,
    /:4: .*must be the same as in the data/,
  );
  await rejectsWith(
    spoiled(3, (r) => (r.index = 400)),
    ...corrupt,
    /:4: .*must be the same as in the data/,
  );
  await rejectsWith(
    spoiled(3, (r) => r.responses.pop()),
    ...corrupt,
    /:4: responses must be an array of 4/,
  );
  await rejectsWith(
    // biome-ignore lint/suspicious/noExplicitAny: a wrong type
    spoiled(5, (r) => ((r.responses[1] as any).reward = '1')),
    ...corrupt,
    /:6: responses\[1\] must have/,
  );
  await rejectsWith(
    spoiled(5, (r) => (r.majority = { response: 4, votes: 1 })),
    ...corrupt,
    /:6: majority/,
  );
  const twice = newFile([...lines, lines[7]]);
  await rejectsWith(again({ records: twice }), ...corrupt, /this problem is already on an earlier line/);
  const foreign = newFile(['{"some":"thing"}']);
  await rejectsWith(again({ records: foreign }), ...corrupt, /:1: the format must be 'prl-.*' \(record of prl eval\)/);
  assert.is(readFileSync(foreign, 'utf8'), '{"some":"thing"}\n');
});

tests('wrong options are refused by name', async () => {
  const usage = [TypeError, 'ERR_PRL_INVALID_ARGUMENT'] as const;
  const range = [RangeError, 'ERR_PRL_OUT_OF_RANGE'] as const;
  await rejectsWith(native({ temperature: 0 }), ...range, /n must be 1 at temperature 0, .* not 4/);
  assert.is((await native({ temperature: 0, n: undefined })).n, 1);
  await rejectsWith(native({ topP: 0 }), ...range, /topP/);
  await rejectsWith(
    native({ maxCompletionLength: 2045 }),
    ...range,
    /leaves \d+ of the model's 2048 positions .* problem 0 of even has 4 tokens/,
  );
  await rejectsWith(native({ sets: [] }), ...usage, /needs sets/);
  await rejectsWith(native({ verifier: 3 as never }), ...usage, /verifier must be a function, or the name/);
  await rejectsWith(native({ verifier: 'maths' as never }), ...range, /Did you mean 'math'/);
  await rejectsWith(native({ sets: [...digitSets(1, 1), ...digitSets(1, 1)] }), ...usage, /two sets are named 'even'/);
  await rejectsWith(native({ tokenizer: undefined }), ...usage, /needs the 'tokenizer'/);
  await rejectsWith(native({ policy: undefined }), ...usage, /one of 'policy' and 'responses'/);
  await rejectsWith(native({ policy: undefined, responses: 'x.jsonl' }), ...usage, /'tokenizer' needs 'policy'/);
  await rejectsWith(
    native({ samples: 3 } as object),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /evaluateDatasets has no option 'samples'/,
  );
});
tests.run();

const given = suite('evaluateDatasets: given responses');
const SETS = digitSets(2, 1);
const judge = (file: string, options: Partial<DatasetEvaluationOptions> = {}) =>
  evaluateDatasets({ sets: SETS, verifier: lastDigit, responses: file, ...options });
const LINES = [
  { id: 'even-1', responses: ['2', '4'] },
  { prompt: '1001', responses: ['1', { text: '11', finished: false, tokens: 2 }] },
  { set: 'even', id: 'even-0', prompt: 'in a chat template', responses: ['0', ''] },
];

given('given responses are judged without a model, in any order, by id or by prompt', async () => {
  const records = newFile();
  const result = await judge(newFile(['', ...LINES, '   ']), { records });
  assert.is(result.n, 2);
  near(
    result.sets.map(({ averageAtN }) => averageAtN),
    [(1 + 1) / 4, 1],
    0,
  );
  near([result.sets[1].clippedRatio, result.sets[0].answeredRatio!], [1 / 2, 3 / 4], 0);
  assert.equal(
    recordsOf(records).map(({ set, index }) => [set, index]),
    [
      ['even', 1],
      ['odd', 0],
      ['even', 0],
    ],
  );
});

given('the record of another evaluation serves as given responses', async () => {
  const records = newFile();
  const sampled = await native({ records });
  const { settings: _, seconds: __, ...again } = await judge(records, { sets: digitSets(20, 12) });
  const { settings: ___, seconds: ____, ...first } = sampled;
  assert.equal(again, first);
});

given('judging given responses resumes where it stopped', async () => {
  const many = digitSets(40, 1);
  const file = newFile([
    ...many[0].problems.map(({ id }, i) => ({ id, responses: [String(i), '2'] })),
    { id: 'odd-0', responses: ['1', '1'] },
  ]);
  const [whole, broken] = [newFile(), newFile()];
  const result = await judge(file, { sets: many, records: whole });
  writeFileSync(broken, readFileSync(whole, 'utf8').slice(0, 3000));
  assert.equal(figures(await judge(file, { sets: many, records: broken, resume: true })), figures(result));
  assert.is(readFileSync(broken, 'utf8'), readFileSync(whole, 'utf8'));
  const other = newFile(LINES);
  await rejectsWith(
    judge(other, { records: broken, resume: true }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /with responses "[0-9a-f]{64}", not/,
  );
});

given('wrong given responses are named by line before any is judged', async () => {
  let judged = 0;
  const verifier = () => {
    judged++;
    return 0;
  };
  const reads = (lines: readonly unknown[], message: RegExp, sets = SETS) =>
    rejectsWith(judge(newFile(lines), { verifier, sets }), PrlError, 'ERR_PRL_CORRUPT', message);
  const [a, b, c] = LINES;
  await rejectsWith(judge(join(root, 'nowhere')), PrlError, 'ERR_PRL_IO', /cannot read .*nowhere/);
  await reads([a, '{"id": "even-0", "resp', c], /:2: it is not JSON: /);
  await reads([a, '[1]'], /:2: it does not hold an object/);
  await reads([a, 'null'], /:2: it does not hold an object/);
  await reads([a, b], /no responses to 1 of the 2 problems of even; the first of them: "even-0"/);
  await reads([], /no responses to 2 of the 2 problems of even/);
  await reads([a, b, c, a], /:4: this problem is already on line 1/);
  await reads([a, { ...b, responses: ['1'] }], /:2: expected 2 responses, as for earlier problems, not 1/);
  await reads([{ ...a, responses: [] }], /:1: responses must be an array of 1 to/);
  await reads([{ ...a, responses: 'x' }], /:1: responses must be an array/);
  await reads([{ id: 'even-1' }], /:1: responses must be an array/);
  for (const bad of [1, null, {}, { text: 3 }, { text: 'x', finished: 1 }, { text: 'x', tokens: -1 }, ['x']])
    await reads([{ ...a, responses: ['x', bad] }], /:1: responses\[1\] must be a string/);
  await reads([{ id: 'even-9', responses: ['1'] }], /:1: no problem with the id "even-9"/);
  await reads([{ prompt: '1', responses: ['1'] }], /:1: no problem that reads "1"/);
  await reads([{ prompt: 'x'.repeat(9999), responses: ['1'] }], /:1: no problem that reads "x{60,300}\.\.\.$/);
  await reads([{ id: {}, responses: ['1'] }], /:1: expected 'id', or 'prompt'/);
  await reads(['{"__proto__": {"id": "even-0"}, "responses": ["1"]}'], /:1: expected 'id'/);
  await reads([{ id: '__proto__', responses: ['1'] }], /:1: no problem with the id "__proto__"/);
  const deep = `${'['.repeat(300_000)}${']'.repeat(300_000)}`;
  await reads(
    [`{"id": "even-0", "set": ${deep}, "responses": ["1"]}`],
    /:1: set must be one of even, odd, not a value that is nested/,
  );
  await reads([`{"id": "even-0", "responses": ${deep}}`], /:1: responses\[0\] must be a string/);
  await reads([{ ...a, set: 'none' }], /:1: set must be one of even, odd, not "none"/);
  await reads([{ ...a, set: 'odd' }], /:1: no problem with the id "even-1"/);
  const [even] = SETS;
  const doubled = [even, { ...even, name: 'again' }];
  await reads([a], /:1: more than one problem with the id "even-1": in even, again\. Add 'set' to choose one/, doubled);
  const bare = SETS.map((set) => ({ ...set, problems: set.problems.map(({ id: _, ...rest }) => rest) }));
  await reads([a], /:1: no problem with the id "even-1": set idField/, bare);
  const binary = newFile();
  writeFileSync(binary, new Uint8Array([0x7b, 0xff, 0xfe, 0x0a]));
  await rejectsWith(judge(binary), PrlError, 'ERR_PRL_CORRUPT', /:1: the line is not UTF-8/);
  assert.is(judged, 0);
});

given('given responses may hold a BOM, CRLF and lone surrogates', async () => {
  const file = newFile();
  const lines = LINES.map((line) => JSON.stringify(line)).join('\r\n');
  writeFileSync(file, `\ufeff${lines.replace('"4"', '"\\ud83d 2"')}`);
  const records = newFile();
  const { sets } = await judge(file, { records });
  near([sets[0].averageAtN], [3 / 4], 0);
  assert.is(recordsOf(records)[0].responses[1].text, '\ud83d 2');
});

given('a verifier that throws ends the evaluation with its error, and judged problems stay recorded', async () => {
  const records = newFile();
  const failing = Object.assign(
    (response: string, gold: string) => {
      if (gold === '1') throw new Error('the judge is out');
      return response === gold ? 1 : 0;
    },
    { extract: lastDigit.extract },
  );
  const sets = digitSets(40, 1);
  const lines = sets.flatMap(({ problems }) => problems.map(({ id }) => ({ id, responses: ['1'] })));
  let message = '';
  await judge(newFile(lines), { sets, verifier: failing, records }).catch((error) => {
    message = error.message;
  });
  assert.is(
    message,
    `response 0 to problem odd-0: the verifier 'verifier' failed for the problem "1001": the judge is out`,
  );
  assert.is(recordsOf(records).length, 32);
});
given.after(() => rmSync(root, { recursive: true, force: true }));
given.run();
