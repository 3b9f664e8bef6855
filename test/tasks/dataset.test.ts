import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type DatasetTaskOptions, datasetTask, evaluate, loadDataset, type Problem, Trainer } from '../../lib/index.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { echoTask } from '../fakes/echo-task.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';
import { throwsError } from '../reference/numbers.js';

const root = mkdtempSync(join(tmpdir(), 'prl-dataset-task-'));
const { tokenizer } = echoTask;
const problems = (count: number, level?: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => ({
    prompt: String(i),
    answer: String(i % 10),
    ...(level && { level: level(i) }),
  }));
const verifier = (response: string, gold: string) => (response === gold ? 1 : 0);
const make = (options: Partial<DatasetTaskOptions> = {}) =>
  datasetTask({ tokenizer, train: problems(50), verifier, ...options });
const prompts = (task: ReturnType<typeof make>, count: number, choice = {}) =>
  Array.from({ length: count }, (_, i) => task.problem(i, { seed: 1, split: 'train', ...choice }).prompt);

const tasks = suite('datasetTask');
tasks.after(() => rmSync(root, { recursive: true, force: true }));

tasks('every epoch has all problems once, in an order that seed and index alone decide', () => {
  const task = make();
  const all = prompts(task, 150);
  const epochs = [0, 1, 2].map((epoch) => all.slice(50 * epoch, 50 * epoch + 50));
  const sorted = (list: string[]) => [...list].sort();
  for (const epoch of epochs) assert.equal(sorted(epoch), sorted(problems(50).map(({ prompt }) => prompt)));
  assert.is.not(epochs[0].join(), epochs[1].join());
  assert.is.not(prompts(task, 50, { seed: 2 }).join(), epochs[0].join());
  // Asked in any order, by another object: as after a resume.
  const other = make();
  for (const i of [149, 3, 77]) assert.is(other.problem(i, { seed: 1, split: 'train' }).prompt, all[i]);
});

tasks('levels are all and those of the problems, and an unknown level is refused', () => {
  const task = make({ train: problems(30, (i) => `Level ${(i % 3) * 5 + 1}`) });
  assert.equal(task.levels, ['all', 'Level 1', 'Level 6', 'Level 11']);
  assert.is(new Set(prompts(task, 30)).size, 30);
  const own = prompts(task, 10, { level: 'Level 6' });
  assert.equal(
    [...own].sort((a, b) => Number(a) - Number(b)),
    problems(30)
      .filter((_, i) => i % 3 === 1)
      .map(({ prompt }) => prompt),
  );
  throwsError(
    () => prompts(task, 1, { level: 'Level 2' }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /all, Level 1, Level 6/,
  );
  throwsError(() => make({ train: problems(100, String) }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /100 different levels/);
});

tasks('train and test never share a problem: test problems leave train, or a hash holds a share out', () => {
  const test: Problem[] = [
    { prompt: '7', answer: '7' },
    { prompt: '100', answer: '0' },
  ];
  const separate = make({ test });
  assert.equal(separate.size, { train: 49, test: 2 });
  assert.is(separate.leaked, 1);
  assert.not.ok(prompts(separate, 49).includes('7'));
  assert.equal(prompts(separate, 2, { split: 'test' }).sort(), ['100', '7']);

  const shared = make({ train: problems(400), evalShare: 0.2 });
  assert.is(shared.size.train + shared.size.test, 400);
  assert.ok(Math.abs(shared.size.test - 80) < 5 * Math.sqrt(400 * 0.2 * 0.8), `${shared.size.test} of 400`);
  const [train, held] = (['train', 'test'] as const).map((split) => new Set(prompts(shared, 1000, { split })));
  assert.is(train.size + held.size, 400);
  assert.ok([...held].every((prompt) => !train.has(prompt)));
  // A problem's split depends on nothing but itself.
  const fewer = make({ train: problems(200), evalShare: 0.2 });
  assert.ok(prompts(fewer, fewer.size.test, { split: 'test' }).every((prompt) => held.has(prompt)));
  throwsError(() => make({ test, evalShare: 0.1 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /evalShare/);
  throwsError(() => make({ test: problems(50) }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /all 50 train problems/);
  throwsError(() => prompts(make(), 1, { split: 'test' }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /no test problems/);
});

tasks("the dataset's prompt template is around its problems in training and evaluation", async () => {
  const train = join(root, 'train.jsonl');
  const test = join(root, 'test.jsonl');
  writeFileSync(
    train,
    problems(5)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(''),
  );
  writeFileSync(test, '{"prompt": "8", "answer": "8"}\n');
  const options = { promptTemplate: '9\n{prompt}' };
  const task = make({ train: await loadDataset(train, options), test: await loadDataset(test, options) });
  assert.is(tokenizer.decode(task.encode!({ prompt: '3', answer: '' })), '9\n3');
  const policy = new TablePolicy(tokenizer.vocabSize);
  const asked: string[] = [];
  const generate = policy.generate.bind(policy);
  policy.generate = (ids, more) => {
    asked.push(...ids.map((each) => tokenizer.decode(each)));
    return generate(ids, more);
  };
  const { records } = await evaluate(policy, task, { problems: 3, n: 2, maxCompletionLength: 3 });
  assert.equal(asked, ['9\n8']);
  assert.is(records[0].prompt, '8', 'the record has the problem');
  const chat = bpeTokenizer({ chat: true });
  const system = [{ prompt: '1', answer: '1', system: 'Be brief.' }];
  throwsError(() => make({ train: system }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /"1" has a system message/);
  const chats = make({
    tokenizer: chat,
    train: { ...(await loadDataset(train, { promptTemplate: 'chat' })), problems: system },
  });
  assert.match(chat.decode(chats.encode!(system[0])), /^system\nBe brief\./);
  const plain = await loadDataset(test, { promptTemplate: 'none' });
  const other = await loadDataset(train, options);
  throwsError(
    () => make({ train: other, test: plain }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /the same promptTemplate, not with 9\n\{prompt\} and none/,
  );
});

const SMALL = { promptsPerStep: 4, numGenerations: 4, maxCompletionLength: 3, saveSteps: 1, seed: 5 } as const;

tasks('Trainer takes a dataset, and a resumed run continues as an uninterrupted one', async () => {
  const path = join(root, 'run.jsonl');
  const write = (count: number) =>
    writeFileSync(
      path,
      problems(count)
        .map((row) => `${JSON.stringify(row)}\n`)
        .join(''),
    );
  write(10);
  const seen: string[][] = [];
  const trainer = async (output: string, maxSteps: number, resume = false) =>
    new Trainer({
      ...{ ...SMALL, maxSteps, output: join(root, output), resume, tokenizer },
      policy: new TablePolicy(tokenizer.vocabSize),
      dataset: await loadDataset(path, { promptTemplate: 'none' }),
      evalDataset: [{ prompt: '55', answer: '5' }],
      verifier: async (response, gold, { finished, prompt }) =>
        finished && response === gold && prompt.endsWith(gold) ? 1 : 0,
      loadPolicy: TablePolicy.load,
    });
  const run = async (each: Trainer) => {
    seen.push([]);
    const rows = [];
    for await (const { metrics, rollout } of each.run()) {
      seen.at(-1)!.push(...rollout.problems.map(({ prompt }) => prompt));
      rows.push([metrics.step, metrics.reward, metrics.loss]);
    }
    return rows;
  };
  const whole = await run(await trainer('whole', 5));
  assert.is(new Set(seen[0].slice(0, 10)).size, 10, 'an epoch is two and a half steps');
  const parts = [...(await run(await trainer('parts', 2))), ...(await run(await trainer('parts', 5, true)))];
  assert.equal(parts, whole);
  assert.equal([...seen[1], ...seen[2]], seen[0]);
  assert.is((await (await trainer('other', 1)).evaluate({ n: 2 })).problems, 1);

  write(11);
  await rejectsWith(
    run(await trainer('parts', 6, true)),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /has dataset "10 problems, SHA-256 [0-9a-f]+", not "11 problems/,
  );
});

tasks('the verifier is math unless another is given, and verify sees the whole problem', async () => {
  const [problem] = problems(1, () => 'easy');
  const verdict = async (options: Partial<DatasetTaskOptions>, response: string) => {
    const given = await make(options).verify(problem, response, true);
    return typeof given === 'number' ? given : given.reward;
  };
  assert.is(await verdict({ verifier: undefined }, 'so \\boxed{0.0}'), 1);
  assert.is(await verdict({ verifier: 'exact' }, 'so \\boxed{0.0}'), 0);
  assert.is(await verdict({ verifier: 'exact' }, 'so \\boxed{0}'), 1);
  const verify = (given: Problem & { level?: string }) => (given.level === 'easy' ? 0.5 : 0);
  assert.is(await verdict({ verifier: undefined, verify }, ''), 0.5);
  throwsError(() => make({ verify }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /either 'verify' or 'verifier'/);
});

tasks('Trainer without exactly one of task and dataset says what is missing', () => {
  const policy = new TablePolicy(tokenizer.vocabSize);
  const dataset = problems(4);
  const rejects = (options: object, message: RegExp) =>
    throwsError(() => new Trainer({ policy, ...options }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', message);
  rejects({}, /one of 'task' and 'dataset'/);
  rejects({ task: echoTask, dataset }, /one of 'task' and 'dataset'/);
  rejects({ task: echoTask, tokenizer }, /'tokenizer' needs 'dataset'/);
  rejects({ dataset, verifier }, /'tokenizer'/);
  throwsError(
    () => new Trainer({ policy, dataset, tokenizer, verifier: 'maths' as 'math' }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /Did you mean 'math'/,
  );
  rejects({ dataset: [], tokenizer, verifier }, /train problems/);
});

tasks.run();
