// A task decides the text around a problem and the tokens that end a response. Every caller of an engine follows it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { collectPrmData, evaluate, readPrmData, type Task, type Tokenizer, warmStart } from '../../lib/index.js';
import type { GenerateOptions } from '../../lib/policy/types.js';
import { collectRollout } from '../../lib/rollout/rollout.js';
import { echoTask } from '../fakes/echo-task.js';
import { TablePolicy } from '../fakes/table-policy.js';

const { tokenizer } = echoTask;
const NEWLINE = tokenizer.encode('\n')[0];
const framed: Task = {
  ...echoTask,
  stopTokens: [tokenizer.eosTokenId, NEWLINE],
  encode: ({ prompt }) => tokenizer.encode(`0\n${prompt}`),
};

/** A table policy that remembers what it was asked. */
function watched() {
  const policy = new TablePolicy(tokenizer.vocabSize);
  const calls: { prompts: number[][]; options: GenerateOptions }[] = [];
  const generate = policy.generate.bind(policy);
  policy.generate = (prompts, options) => {
    calls.push({ prompts: prompts.map((ids) => Array.from(ids)), options });
    return generate(prompts, options);
  };
  return { policy, calls };
}

const encoding = suite('Task.encode and stopTokens');

encoding("collectRollout uses the task's encoding and stop tokens and keeps the prompt ids", async () => {
  const { policy, calls } = watched();
  const problems = [1, 2].map((digit) => ({ prompt: String(digit), answer: String(digit) }));
  const options = { n: 40, maxCompletionLength: 6, temperature: 1, seed: 5 };
  const rollout = await collectRollout(policy, framed, problems, options);
  const expected = ['0\n1', '0\n2'].map((text) => Array.from(tokenizer.encode(text)));
  assert.equal(calls[0].prompts, expected);
  assert.equal(calls[0].options.stop, [tokenizer.eosTokenId, NEWLINE]);
  assert.equal(Array.from(rollout.prompts[0]), expected[0]);
  assert.equal(Array.from(rollout.prompts[79]), expected[1]);
  const ends = rollout.completions.filter((_, i) => rollout.finished[i]).map((tokens) => tokens[tokens.length - 1]);
  assert.ok(ends.includes(NEWLINE) && ends.includes(tokenizer.eosTokenId), 'both ways to end occur');

  await collectRollout(policy, echoTask, problems, options);
  assert.equal(calls[1].prompts, [Array.from(tokenizer.encode('1')), Array.from(tokenizer.encode('2'))]);
  assert.equal(calls[1].options.stop, [tokenizer.eosTokenId], 'the default');
});

encoding('a task without stop tokens uses those of the tokenizer', async () => {
  const { policy, calls } = watched();
  const several = {
    stopTokenIds: [tokenizer.eosTokenId, NEWLINE],
    encode: (text: string) => tokenizer.encode(text),
    decode: (tokens: Int32Array) => tokenizer.decode(tokens),
  } as unknown as Tokenizer;
  await evaluate(
    policy,
    { ...echoTask, tokenizer: several, encode: () => tokenizer.encode('1') },
    { problems: 1, n: 1 },
  );
  assert.equal(calls[0].options.stop, [tokenizer.eosTokenId, NEWLINE]);
});

encoding("evaluate, collectPrmData and warmStart use the task's encoding too", async () => {
  const { policy, calls } = watched();
  await evaluate(policy, framed, { problems: 2, n: 1, maxCompletionLength: 4 });
  assert.ok(calls[0].prompts.every((ids) => tokenizer.decode(ids).startsWith('0\n')));
  assert.equal(calls[0].options.stop, framed.stopTokens);

  const folder = mkdtempSync(join(tmpdir(), 'prl-encoding-'));
  try {
    const output = join(folder, 'prm.jsonl');
    const collection = collectPrmData({
      ...{ policy, model: 'table', task: framed, output, problems: 1, n: 2, continuations: 1, split: 'train' },
      ...{ level: 'all', maxCompletionLength: 6, temperature: 1, stepSplit: 'length', stepLength: 2, seed: 3 },
    });
    for await (const _ of collection);
    const { problems } = await readPrmData(output);
    assert.is(tokenizer.decode(problems[0].prompt).slice(0, 2), '0\n');
    assert.equal(calls[1].options.stop, framed.stopTokens);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }

  const prompts: string[] = [];
  const update = policy.update.bind(policy);
  policy.update = (batch, options) => {
    prompts.push(...batch.prompts.map((ids) => tokenizer.decode(ids)));
    return update(batch, options);
  };
  const phases = [{ steps: 1, batchSize: 3, learningRate: 1, warmupSteps: 0, level: 'all', styles: { steps: 1 } }];
  for await (const _ of warmStart({ policy, task: framed, phases, seed: 1 }));
  assert.is(prompts.length, 3);
  assert.ok(prompts.every((prompt) => prompt.startsWith('0\n')));
});

encoding.run();
