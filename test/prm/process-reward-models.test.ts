import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  FunctionPrm,
  loadProcessRewardModel,
  PrlError,
  type ProcessRewardModel,
  type ScoreSteps,
  type StepBatch,
  type StepTexts,
  scoreSteps,
} from '../../lib/index.js';
import { completionSteps } from '../../lib/methods/steps.js';
import { echoTask } from '../fakes/echo-task.js';
import { rejectsWith } from '../policy/rejects.js';
import { throwsError } from '../reference/numbers.js';

const { tokenizer } = echoTask;
/** Responses as the trainer hands them over. */
export function batchOf(texts: readonly [prompt: string, response: string][]): StepBatch {
  const completions = texts.map(([, response]) =>
    Int32Array.from([...tokenizer.encode(response), tokenizer.eosTokenId]),
  );
  return {
    prompts: texts.map(([prompt]) => tokenizer.encode(prompt)),
    completions,
    cuSteps: completionSteps(completions, tokenizer, { stepSplit: 'newline', stepLength: 1 }),
  };
}
/** A score that tells steps apart. */
const digits = ({ steps }: StepTexts) => steps.map((step) => Number(step.trim() || 0) / 100);
const functionPrm = (score: ScoreSteps, concurrency = 16) => new FunctionPrm(score, { tokenizer, concurrency });
const rounded = (scores: ArrayLike<number>) => Array.from(scores, (score) => Math.round(score * 100));

const functions = suite('FunctionPrm');
functions('the function gets the text of each step and its scores are used step by step', async () => {
  const seen: StepTexts[] = [];
  const prm = functionPrm((response) => {
    seen.push(response);
    return digits(response);
  });
  const batch = batchOf([
    ['1', '12\n34\n5'],
    ['2', '6'],
  ]);
  const { scores, tokens } = await prm.score(batch);
  assert.equal(rounded(scores), [12, 34, 5, 6]);
  assert.is(tokens, 1 + 8 + 1 + 2, 'prompts and responses, each read once');
  assert.equal(seen, [
    { prompt: '1', response: '12\n34\n5', steps: ['12\n', '34\n', '5'] },
    { prompt: '2', response: '6', steps: ['6'] },
  ]);
});
functions('an asynchronous function runs at most concurrency times at once and may report its tokens', async () => {
  let [now, most] = [0, 0];
  const prm = functionPrm(async (response) => {
    most = Math.max(most, ++now);
    await new Promise((done) => setTimeout(done, response.prompt === '1' ? 20 : 1));
    now--;
    return { scores: digits(response), tokens: 100 };
  }, 3);
  const { scores, tokens } = await prm.score(batchOf(Array.from({ length: 10 }, (_, i) => [String(i), `${i}\n${i}`])));
  assert.equal(rounded(scores), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]);
  assert.is(tokens, 1000);
  assert.is(most, 3);
});
functions('scoring by a slow function gives the event loop its turns', async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const busy = functionPrm((response) => {
    const end = performance.now() + 6;
    while (performance.now() < end);
    return digits(response);
  }, 1);
  await busy.score(batchOf(Array.from({ length: 10 }, () => ['1', '2'])));
  clearInterval(timer);
  assert.ok(turns >= 5, `${turns} turns`);
});
functions('the first failure stops the other calls', async () => {
  let calls = 0;
  const prm = functionPrm(async ({ prompt }, { signal }) => {
    calls++;
    if (prompt === '0') throw new Error('no');
    await new Promise((done) => signal.addEventListener('abort', done));
    return [1];
  }, 2);
  const batch = batchOf(Array.from({ length: 10 }, (_, i) => [String(9 - i), '1']));
  // Two wait for ever at first: only an abort ends them.
  const first = batchOf([['1', '1'], ['0', '1'], ...Array.from({ length: 8 }, () => ['2', '1'] as [string, string])]);
  assert.match(
    await prm.score(first).catch(({ message }) => message),
    /^response 1 of the batch: function failed: no$/,
  );
  assert.is(calls, 2);
  await rejectsWith(
    functionPrm(() => [0.5]).score({ ...batch, signal: AbortSignal.abort() }),
    PrlError,
    'ERR_PRL_ABORTED',
    /aborted/,
  );
});
functions(
  'a failure names the response and its place among all, keeps the cause, and stays when scored once',
  async () => {
    const batch = batchOf([
      ['0', '1'],
      ['0', '1'],
      ['3', '4\n5'],
    ]);
    const cause = new Error('no');
    const throwing = functionPrm(({ prompt, steps }) => {
      if (prompt === '3') throw cause;
      return steps.map(() => 0.5);
    });
    const outside = functionPrm(({ prompt, steps }) => steps.map((_, k) => (prompt === '3' && k === 1 ? 1.5 : 0.5)));
    const few = functionPrm(({ prompt, steps }) => (prompt === '3' ? [1] : steps.map(() => 1)));
    for (const [prm, message] of [
      [throwing, /^response 2 of the batch: function failed: no/],
      [outside, /^response 2 of the batch: .* not 1.5 for step 1/],
      [few, /^response 2 of the batch: .*2 scores for 2 steps/],
    ] as const) {
      const error = await scoreSteps(prm, batch).catch((e) => e);
      assert.is(error.code, 'ERR_PRL_REWARD_MODEL');
      assert.match(error.message, message);
      assert.is(error.response, 2);
      if (prm === throwing) assert.is(error.cause, cause);
    }
  },
);
functions('wrong scores and wrong options are refused', async () => {
  await rejectsWith(
    functionPrm(() => [0.1, 0.2]).score(batchOf([['1', '2']])),
    PrlError,
    'ERR_PRL_REWARD_MODEL',
    /function must return an array of 1 scores for 1 steps, not \[0.1,0.2\]/,
  );
  await rejectsWith(
    functionPrm((() => undefined) as never).score(batchOf([['1', '2']])),
    PrlError,
    'ERR_PRL_REWARD_MODEL',
    /not undefined/,
  );
  throwsError(() => new FunctionPrm(5 as never, { tokenizer }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /function/);
  throwsError(
    () => new FunctionPrm(() => [], { tokenizer, concurency: 1 } as never),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /'concurrency'/,
  );
});
functions.run();

const scoring = suite('scoreSteps');
scoring('equal responses to equal prompts are scored once', async () => {
  let asked = 0;
  const prm = functionPrm((response) => {
    asked++;
    return digits(response).map((score) => score + Number(response.prompt) / 10);
  });
  const batch = batchOf([
    ['1', '2\n3'],
    ['2', '2\n3'],
    ['1', '2\n3'],
    ['1', '2'],
    ['2', '2\n3'],
    ['1', '2\n3'],
  ]);
  const { scores, tokens } = await scoreSteps(prm, batch);
  assert.equal(rounded(scores), [12, 13, 22, 23, 12, 13, 12, 22, 23, 12, 13]);
  assert.is(asked, 3);
  assert.is(tokens, 5 + 5 + 3);
});
scoring('equal responses with other step boundaries are scored apart', async () => {
  const prm = functionPrm(({ steps }) => steps.map((step) => step.length / 10));
  const [completion, prompt] = [tokenizer.encode('123456'), tokenizer.encode('1')];
  const { scores } = await scoreSteps(prm, {
    prompts: [prompt, prompt],
    completions: [completion, completion],
    cuSteps: Int32Array.of(0, 2, 6, 9, 12),
  });
  assert.equal(rounded(scores), [20, 40, 30, 30]);
});
scoring('responses without tokens have no scores', async () => {
  const prm = functionPrm(digits);
  const [empty, one] = [new Int32Array(), tokenizer.encode('7')];
  const { scores } = await scoreSteps(prm, {
    prompts: [one, one, one],
    completions: [empty, one, empty],
    cuSteps: Int32Array.of(0, 1),
  });
  assert.equal(rounded(scores), [7]);
});
scoring('a wrong answer or a failure of the model is ERR_PRL_REWARD_MODEL and names the model', async () => {
  const answers = (answer: unknown): ProcessRewardModel => ({ name: 'mine', score: async () => answer as never });
  const wrong = (answer: unknown, message: RegExp) =>
    rejectsWith(scoreSteps(answers(answer), batchOf([['1', '2\n3']])), PrlError, 'ERR_PRL_REWARD_MODEL', message);
  await wrong(undefined, /mine must return \{ scores: Float32Array/);
  await wrong({ scores: [0.1, 0.2], tokens: 1 }, /not object scores/);
  await wrong({ scores: Float32Array.of(0.1), tokens: 1 }, /mine must return 2 scores for 2 steps, not 1/);
  await wrong({ scores: Float32Array.of(0.1, NaN), tokens: 1 }, /scores in \[0, 1\], not NaN for step 1/);
  await wrong({ scores: Float32Array.of(-0.5, 0), tokens: 1 }, /scores in \[0, 1\], not -0.5 for step 0/);
  await wrong({ scores: Float32Array.of(0, 1) }, /number of tokens that it read, not undefined/);
  const cause = new Error('out of paper');
  const failing: ProcessRewardModel = { name: 'mine', score: () => Promise.reject(cause) };
  await rejectsWith(
    scoreSteps(failing, batchOf([['1', '2']])),
    PrlError,
    'ERR_PRL_REWARD_MODEL',
    /mine failed: out of paper/,
  );
});
scoring('an abort is ERR_PRL_ABORTED, whatever error the model throws', async () => {
  const controller = new AbortController();
  const prm = functionPrm(async (_, { signal }) => {
    controller.abort();
    signal.throwIfAborted();
    return [1];
  });
  const call = scoreSteps(prm, { ...batchOf([['1', '2']]), signal: controller.signal });
  await rejectsWith(call, PrlError, 'ERR_PRL_ABORTED', /scoring of steps was aborted/);
});
scoring.run();

const loading = suite('loadProcessRewardModel');
loading('a server address gives its endpoint and options, and a wrong one is refused', async () => {
  const name = async (spec: string) => (await loadProcessRewardModel(spec, tokenizer)).name;
  assert.match(await name('http://localhost:8000'), /at http:\/\/localhost:8000\/pooling$/);
  assert.match(
    await name('http://localhost:8000/v2/classify?positiveClass=0'),
    /at http:\/\/localhost:8000\/v2\/classify$/,
  );
  assert.match(
    await name('http://host/?timeout=5000&retries=1&retryDelay=10&concurrency=2'),
    /at http:\/\/host\/pooling$/,
  );
  assert.match(await name('https://host/pooling/?separator=<s>&chat=true&model=m'), /at https:\/\/host\/pooling$/);
  for (const [spec, code, message] of [
    ['http://', 'INVALID_ARGUMENT', /must be a folder or an address, not/],
    ['http://host/classify?separator=x', 'INVALID_ARGUMENT', /need endpoint 'pooling'/],
    ['http://host/?seperator=x', 'UNKNOWN_OPTION', /'separator'/],
    ['http://host/?headers=x', 'UNKNOWN_OPTION', /'headers'/],
    ['http://host/?tokenizer=x', 'UNKNOWN_OPTION', /'tokenizer'/],
    ['http://host/?chat=yes', 'OUT_OF_RANGE', /chat must be one of 'true', 'false', not 'yes'/],
    ['http://host/?timeout=soon', 'OUT_OF_RANGE', /timeout must be an integer/],
    ['http://host/?retries=', 'OUT_OF_RANGE', /retries must be an integer/],
  ] as const) {
    const kind = code === 'OUT_OF_RANGE' ? RangeError : TypeError;
    await rejectsWith(loadProcessRewardModel(spec, tokenizer), kind, `ERR_PRL_${code}`, message);
  }
});
loading.run();
