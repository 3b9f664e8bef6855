// Right arguments of the public functions around the kernels: text, verifiers, tasks, datasets, figures, set-ups.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ArithmeticTask,
  averageAtN,
  characterTokenizer,
  datasetTask,
  estimateMemory,
  evaluate,
  evaluateDatasets,
  exactVerifier,
  extractAnswer,
  FunctionPrm,
  functionVerifier,
  HttpPrm,
  loadDataset,
  loadDemonstrations,
  majorityVote,
  mathVerifier,
  numericVerifier,
  passAtK,
  promptSeeds,
  regexVerifier,
  SftTrainer,
  SglangEngine,
  scoreSteps,
  setThreads,
  splitSteps,
  TinkerPolicy,
  Tokenizer,
  Trainer,
  VllmEngine,
  verifierByName,
  verifyMath,
  weightedVerifier,
} from '../../lib/index.js';
import { tinyConfig, tinyPolicy } from '../policy/tiny.js';
import type { Making } from './making.js';
import type { PublicCall } from './public-calls.js';

const task = new ArithmeticTask({ levels: ['2-3', '4'] });
const { tokenizer } = task;
const chat = new Tokenizer(
  {
    added_tokens: [
      { id: 1, content: '<eos>', special: true, single_word: false, lstrip: false, rstrip: false, normalized: false },
    ],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: Object.fromEntries(Array.from('#', (c) => [c, 0])), merges: [] },
  },
  { eos_token: '<eos>', chat_template: '{% for m in messages %}#{{ m.content }}{% endfor %}{{ strftime_now("%d") }}' },
);
const policy = tinyPolicy({ vocab_size: tokenizer.vocabSize });
const TEXT = '12+7=\n#19';
const ids = (m: Making, n: number) => Array.from({ length: n }, () => m.int(0, tokenizer.vocabSize - 1));

const RESPONSES = ['so \\boxed{12}', 'the answer is 3/4', '\\boxed{x^2+1}', '<think>12', '', '1,234.5'];
const judged = (m: Making) => ({ response: m.of(RESPONSES), gold: m.of(['12', '0.75', '1 + x^2', '1234.5']) });
const extraction = (m: Making) => ({ extraction: m.of(['boxed', 'any', 'whole'] as const) });
const info = { prompt: 'How many?', finished: true };

const problems = () => Array.from({ length: 6 }, (_, i) => ({ prompt: `${i}+1=`, answer: `${i + 1}` }));
const folder = mkdtempSync(join(tmpdir(), 'prl-fuzz-data-'));
const FILE = join(folder, 'problems.jsonl');
writeFileSync(
  FILE,
  problems()
    .map((problem) => `${JSON.stringify(problem)}\n`)
    .join(''),
);
process.on('exit', () => rmSync(folder, { recursive: true }));
// A name that the fuzz makes up may be one of a repository.
process.env.HF_HUB_OFFLINE = '1';

const verifier = (make: (options: never) => unknown, options: (m: Making) => object): PublicCall => ({
  make: (m) => ({ ...judged(m), gold: '12', options: options(m), info: { ...info } }),
  call: (a) => (make(a.options as never) as (...args: unknown[]) => unknown)(a.response, a.gold, a.info),
});

function stepBatch(m: Making) {
  const completions = Array.from({ length: m.int(0, 3) }, () => Int32Array.from(ids(m, m.int(0, 6))));
  const prompts = completions.map(() => Int32Array.from(ids(m, 3)));
  const conversations = prompts.map(() => ({ problem: '12+7=', messages: [{ role: 'user', content: '12+7=' }] }));
  return { prompts, completions, conversations, cuSteps: splitSteps(completions, { kind: 'length', length: 2 }) };
}
const halves = ({ steps }: { steps: readonly string[] }) => steps.map(() => 0.5);

export const LIBRARY_CALLS: Record<string, PublicCall> = {
  characterTokenizer: {
    make: () => ({ alphabet: '0123#' }),
    call: (a) => characterTokenizer(a.alphabet).vocabSize,
  },
  'tokenizer.encode': {
    make: (m) => ({ text: TEXT, options: { addSpecialTokens: m.chance(0.5) } }),
    call: (a) => tokenizer.encode(a.text, a.options),
  },
  'tokenizer.decode': {
    make: (m) => ({ tokens: ids(m, 5), options: { skipSpecialTokens: m.chance(0.5) } }),
    call: (a) => tokenizer.decode(a.tokens, a.options),
  },
  'tokenizer.pieces': { make: (m) => ({ tokens: ids(m, 5) }), call: (a) => tokenizer.pieces(a.tokens) },
  'tokenizer.tokenId': { make: () => ({ token: '#' }), call: (a) => tokenizer.tokenId(a.token) },
  'tokenizer.clock': {
    make: () => ({ clock: '2026-07-26T12:30' }),
    call: (a) => {
      chat.clock = a.clock;
    },
  },
  'tokenizer.applyChatTemplate': {
    make: () => ({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hello' },
      ],
      options: { addGenerationPrompt: true, variables: { date: 'today' } },
    }),
    call: (a) => chat.applyChatTemplate(a.messages, a.options),
  },
  'tokenizer.encodeChat': {
    make: () => ({ messages: [{ role: 'user', content: 'Hello' }], options: {} }),
    call: (a) => chat.encodeChat(a.messages, a.options),
  },
  verifyMath: {
    make: (m) => ({ ...judged(m), options: extraction(m) }),
    call: (a) => verifyMath(a.response, a.gold, a.options),
  },
  extractAnswer: {
    make: (m) => ({ ...judged(m), ...extraction(m) }),
    call: (a) => extractAnswer(a.response, a.extraction),
  },
  mathVerifier: verifier(mathVerifier, extraction),
  exactVerifier: verifier(exactVerifier, (m) => ({ ...extraction(m), ignoreCase: m.chance(0.5) })),
  numericVerifier: verifier(numericVerifier, (m) => ({
    ...extraction(m),
    relativeTolerance: 0.1,
    absoluteTolerance: 0,
  })),
  regexVerifier: verifier(regexVerifier, (m) => ({ pattern: m.of([undefined, /(\d+)/]) })),
  verifierByName: { make: () => ({ name: 'exact' }), call: (a) => typeof verifierByName(a.name) },
  functionVerifier: {
    make: (m) => ({ judge: () => 1, options: { name: 'mine', timeout: 1000 }, ...judged(m), info: { ...info } }),
    call: (a) => functionVerifier(a.judge, a.options)(a.response, a.gold, a.info),
  },
  weightedVerifier: {
    make: (m) => ({ parts: [{ name: 'a', verifier: () => 1, weight: 2 }], ...judged(m), info: { ...info } }),
    call: (a) => weightedVerifier(a.parts)(a.response, a.gold, a.info),
  },
  passAtK: { make: () => ({ n: 8, c: 3, k: 2 }), call: (a) => passAtK(a.n, a.c, a.k) },
  averageAtN: { make: () => ({ problems: [{ n: 4, correct: 1 }] }), call: (a) => averageAtN(a.problems) },
  majorityVote: {
    make: () => ({ answers: ['1', undefined, '1.0', '2'], same: (x: number, y: number) => (x + y) % 2 === 0 }),
    call: (a) => majorityVote(a.answers, a.same),
  },
  promptSeeds: {
    make: (m) => ({ seed: m.chance(0.5) ? 3 : [1, 2], prompts: 2 }),
    call: (a) => promptSeeds(a.seed, a.prompts),
  },
  setThreads: { make: (m) => ({ threads: m.int(1, 3) }), call: (a) => setThreads(a.threads) },
  estimateMemory: {
    make: () => ({
      config: tinyConfig(),
      options: {
        dtype: 'bfloat16',
        training: true,
        microBatchTokens: 64,
        maxBatch: 2,
        promptTokens: 4,
        maxNewTokens: 4,
      },
    }),
    call: (a) => estimateMemory(a.config, a.options),
  },
  loadDataset: {
    make: () => ({
      source: FILE,
      options: {
        ...{ name: 'mine', promptField: 'prompt', answerField: 'answer', answerFrom: 'field', promptTemplate: 'none' },
        ...{ onInvalid: 'drop', maxPromptLength: 9, tokenizer, minAnswerLength: 1, maxAnswerLength: 9 },
        filter: () => true,
      },
    }),
    call: (a) => loadDataset(a.source, a.options),
  },
  datasetTask: {
    make: () => ({
      options: { name: 'mine', tokenizer, train: problems(), evalShare: 0.3, verifier: 'exact', measure: undefined },
      index: 3,
      choice: { seed: 1, split: 'train', level: 'all' },
    }),
    call: (a) => datasetTask(a.options).problem(a.index, a.choice),
  },
  'task.problem': {
    make: (m) => ({ index: m.int(0, 99), choice: { seed: 1, split: m.of(['train', 'test'] as const), level: '2-3' } }),
    call: (a) => task.problem(a.index, a.choice),
  },
  'task.verify': {
    make: () => ({ problem: { prompt: '1+2=', answer: '3' }, response: '#3', finished: true }),
    call: (a) => task.verify(a.problem, a.response, a.finished),
  },
  'task.demonstrate': {
    make: (m) => ({
      problem: { prompt: '1+2=', answer: '3' },
      style: m.of(['steps', 'direct', 'slips']),
      random: () => 0.5,
    }),
    call: (a) => task.demonstrate(a.problem, a.style, a.random),
  },
  ArithmeticTask: {
    make: () => ({ options: { levels: ['2-6', '2:3,5:1'] } }),
    call: (a) => new ArithmeticTask(a.options).levels,
  },
  evaluate: {
    make: () => ({
      policy,
      task,
      options: { problems: 2, n: 2, level: '4', temperature: 1, maxCompletionLength: 3, seed: 1 },
    }),
    call: async (a) => {
      const { seconds: _, ...result } = await evaluate(a.policy, a.task, a.options);
      return result;
    },
  },
  evaluateDatasets: {
    make: () => ({
      ...{ sets: [{ name: 'a', problems: problems().slice(0, 2) }], verifier: 'exact', policy, tokenizer },
      ...{ n: 2, temperature: 1, maxCompletionLength: 3, seed: 1, identity: { of: 'fuzz' } },
    }),
    call: async (a) => {
      const { seconds: _, ...result } = await evaluateDatasets(a);
      return result;
    },
  },
  scoreSteps: {
    make: (m) => ({ model: new FunctionPrm(halves, { tokenizer }), batch: stepBatch(m) }),
    call: (a) => scoreSteps(a.model, a.batch),
  },
  FunctionPrm: {
    make: (m) => ({ score: halves, options: { tokenizer, name: 'mine', concurrency: 2 }, batch: stepBatch(m) }),
    call: (a) => new FunctionPrm(a.score, a.options).score(a.batch),
  },
  HttpPrm: {
    make: () => ({
      url: 'http://localhost:1',
      tokenizer,
      model: 'm',
      separator: '<s>',
      chat: true,
      timeout: 1,
      headers: {},
    }),
    call: (a) => new HttpPrm(a).name,
  },
  VllmEngine: {
    make: () => ({ urls: ['http://localhost:1'], model: 'm', apiKey: 'k', concurrency: 2, headers: {}, timeout: 5 }),
    call: (a) => typeof new VllmEngine(a),
  },
  SglangEngine: {
    make: () => ({ urls: 'http://localhost:1', model: 'm', retries: 1 }),
    call: (a) => typeof new SglangEngine(a),
  },
  'TinkerPolicy.connect': {
    make: (m) => ({
      ...{ url: 'http://localhost:1', apiKey: 'k', baseModel: 'm', model: './no-such-folder/at-all/here', loraRank: 4 },
      ...{ seed: 1, trainMlp: m.chance(0.5), lossPath: m.of(['auto', 'surrogate']), encoding: 'json', timeout: 5 },
    }),
    // Its options are checked before it looks for the folder.
    call: (a) =>
      TinkerPolicy.connect(a).catch((error) => {
        if (error.code !== 'ERR_PRL_IO') throw error;
        return error.code;
      }),
  },
  Trainer: {
    make: (m) => ({
      ...{ policy, task, method: m.of(['grpo', 'prl', 'frpo']), maxSteps: 3, numGenerations: 4, learningRate: 1e-3 },
      ...{ beta: 0, seed: 1, onWarning: () => {}, stepSplit: undefined },
    }),
    call: (a) => new Trainer(a).step,
  },
  loadDemonstrations: {
    make: (m) => ({
      source: FILE,
      options: {
        ...{ name: 'mine', promptField: 'prompt', completionField: 'answer', promptTemplate: 'none', tokenizer },
        ...{ onInvalid: 'drop', maxLength: 30, completionOnlyLoss: m.chance(0.5), assistantOnlyLoss: true },
      },
    }),
    call: (a) => loadDemonstrations(a.source, a.options),
  },
  SftTrainer: {
    make: (m) => ({
      ...{ policy, numTrainEpochs: m.of([1, 2.5]), packing: m.chance(0.5), maxLength: 20, learningRate: 1e-3, seed: 1 },
      dataset: Array.from({ length: m.int(1, 4) }, () => ({
        prompt: Int32Array.from(ids(m, m.int(1, 4))),
        completion: Int32Array.from(ids(m, 3)),
        mask: m.maybe(() => Int32Array.of(1, 0, 1)),
      })),
    }),
    call: (a) => new SftTrainer(a).totalSteps,
  },
};
