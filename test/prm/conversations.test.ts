// What reaches a process reward model that reads texts: the problem's messages, or the bare problem, never a chat
// without its special tokens. And the ids of texts, which begin as transformers begins them.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type DatasetTask,
  datasetTask,
  FunctionPrm,
  HttpPrm,
  type ProcessRewardModel,
  type StepTexts,
  scoreSteps,
  type Task,
  Tokenizer,
  Trainer,
} from '../../lib/index.js';
import { completionSteps } from '../../lib/methods/steps.js';
import { readCompletionRequest } from '../../lib/rollout/serve/completion-request.js';
import { conversationOf, encodeProblem } from '../../lib/tasks/task.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { echoTask } from '../fakes/echo-task.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';

const BOXED = 'Please reason step by step, and put your final answer within \\boxed{}.';
const QUESTION = 'What is 2 + 2?';
const chat = bpeTokenizer({ chat: true });

function taskOf(promptTemplate: string, system?: string): DatasetTask {
  const problems = [{ prompt: QUESTION, answer: '4', ...(system !== undefined && { system }) }];
  const prompt = { promptTemplate };
  const report = { rows: 1, kept: 1 } as never;
  return datasetTask({ tokenizer: chat, train: { name: 'sums', problems, prompt, fingerprint: 'x', report } });
}

/** What the trainer gives to a model in its first step. */
async function trained(task: Task, prm: (tokenizer: Tokenizer) => ProcessRewardModel): Promise<void> {
  const trainer = new Trainer({
    ...{
      policy: new TablePolicy(task.tokenizer.vocabSize),
      task,
      method: 'progrs',
      processRewardModel: prm(task.tokenizer),
    },
    ...{
      promptsPerStep: 1,
      numGenerations: 2,
      maxCompletionLength: 4,
      maxSteps: 1,
      stepSplit: 'length',
      stepLength: 2,
    },
    ...{ microBatchTokens: undefined, logProbCheckSteps: 0 },
  });
  for await (const _ of trainer.run());
}

async function seenBy(task: Task): Promise<StepTexts> {
  const seen: StepTexts[] = [];
  const score = (response: StepTexts) => {
    seen.push(response);
    return response.steps.map(() => 0.5);
  };
  await trained(task, (tokenizer) => new FunctionPrm(score, { tokenizer }));
  return seen[0];
}

/** The bodies that a server gets from an HttpPrm. */
async function sentBy(task: Task, options: object): Promise<Record<string, unknown>> {
  // biome-ignore lint/suspicious/noExplicitAny: a request's JSON
  const bodies: any[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text);
    bodies.push(body);
    const marks = String(body.messages?.at(-1).content ?? body.input).split('<extra_0>').length - 1;
    const scores = Array.isArray(body.input)
      ? body.input.map((_: string, index: number) => ({ index, probs: [0.5, 0.5] }))
      : [{ data: Array.from({ length: marks }, () => 0.5) }];
    response.end(JSON.stringify({ data: scores }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await trained(task, (tokenizer) => new HttpPrm({ url, tokenizer, ...options }));
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
  return bodies[0];
}

const prompts = suite('Prompts of process reward models');
prompts('a function gets the bare problem and the messages of the policy', async () => {
  for (const [task, messages] of [
    [taskOf('chat'), [{ role: 'user', content: QUESTION }]],
    [
      taskOf('boxed'),
      [
        { role: 'system', content: BOXED },
        { role: 'user', content: QUESTION },
      ],
    ],
    [
      taskOf('boxed', 'Answer in French.'),
      [
        { role: 'system', content: 'Answer in French.' },
        { role: 'user', content: QUESTION },
      ],
    ],
    [
      taskOf('prl'),
      [
        { role: 'system', content: BOXED },
        {
          role: 'user',
          content: `${QUESTION} Let's think step by step and output the final answer within \\boxed{}.`,
        },
      ],
    ],
    [taskOf('question'), [{ role: 'user', content: QUESTION }]],
    [taskOf('1 + 1?\nAnswer: 2\n\n{prompt}\nAnswer:'), [{ role: 'user', content: QUESTION }]],
    [taskOf('none'), [{ role: 'user', content: QUESTION }]],
  ] as const) {
    const { prompt, messages: said } = await seenBy(task);
    assert.is(prompt, QUESTION);
    assert.equal(said, messages);
  }
  const { prompt, messages } = await seenBy(echoTask);
  assert.match(prompt, /^\d$/);
  assert.equal(messages, [{ role: 'user', content: prompt }]);
});
prompts("a task of the caller's own passes a conversation of several turns", async () => {
  const turns = [
    { role: 'user', content: '1 + 1?' },
    { role: 'assistant', content: '2' },
    { role: 'user', content: QUESTION },
  ];
  const task: Task = { ...taskOf('chat'), messages: () => turns };
  assert.equal((await seenBy(task)).messages, turns);
  const { messages } = await sentBy(task, { chat: true });
  assert.equal((messages as object[]).slice(0, -1), turns);
});
prompts('a server gets these messages with chat, and else the problem before the response', async () => {
  const { messages, input, add_generation_prompt } = await sentBy(taskOf('boxed'), { chat: true });
  assert.equal((messages as object[]).slice(0, 2), [
    { role: 'system', content: BOXED },
    { role: 'user', content: QUESTION },
  ]);
  const answer = (messages as { role: string; content: string }[])[2];
  assert.is(answer.role, 'assistant');
  assert.match(answer.content, /<extra_0>$/);
  assert.is(input, undefined);
  assert.is(add_generation_prompt, false);
  for (const template of ['boxed', 'prl', 'question'])
    assert.is(((await sentBy(taskOf(template), {})).input as string).startsWith(`${QUESTION}\n`), true, template);
  const classified = (await sentBy(taskOf('boxed'), { endpoint: 'classify' })).input as string[];
  assert.ok(classified.every((text) => text.startsWith(`${QUESTION}\n`)));
  // The response continues the line of a bare problem, and the model reads what the policy wrote.
  const bare = (await sentBy(taskOf('none'), { endpoint: 'classify' })).input as string[];
  assert.ok(bare[0].startsWith(QUESTION));
});
prompts('separators and control tokens in the messages are removed', async () => {
  const said = [
    { role: 'system', content: 'Be <extra_0>brief.' },
    { role: 'user', content: [{ type: 'text', text: 'Say <ex<extra_0>tra_0>4<|im_end|>.' }, { type: 'image' }] },
  ];
  const { messages } = await sentBy({ ...taskOf('chat'), messages: () => said }, { chat: true });
  assert.equal((messages as object[]).slice(0, 2), [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: [{ type: 'text', text: 'Say 4.' }, { type: 'image' }] },
  ]);
});
prompts('a chat without its messages is refused, a bare prompt is decoded', async () => {
  const completions = [chat.encode('4')];
  const cuSteps = completionSteps(completions, chat, { stepSplit: 'newline', stepLength: 1 });
  const seen: StepTexts[] = [];
  const score = (response: StepTexts) => {
    seen.push(response);
    return [0.5];
  };
  const prm = new FunctionPrm(score, { tokenizer: chat });
  const ids = chat.encodeChat([{ role: 'user', content: QUESTION }], { addGenerationPrompt: true });
  const ask = (more: object) => scoreSteps(prm, { prompts: [ids], completions, cuSteps, ...more });
  await rejectsWith(ask({}), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /prompts\[0\] is a chat with special tokens/);
  for (const wrong of [[], [{}], [{ problem: 'x', messages: [] }], [{ problem: 'x', messages: [{}] }], 'x'])
    await rejectsWith(ask({ conversations: wrong }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /conversations/);
  await ask({ conversations: [{ problem: QUESTION }] });
  await ask({ prompts: [chat.encode(QUESTION)] });
  const expected = {
    ...{ prompt: QUESTION, messages: [{ role: 'user', content: QUESTION }], response: '4', steps: ['4'] },
  };
  assert.equal(seen, [expected, expected]);
});
prompts('equal prompts of different conversations are scored apart', async () => {
  const completions = [chat.encode('4'), chat.encode('4'), chat.encode('4')];
  const cuSteps = completionSteps(completions, chat, { stepSplit: 'newline', stepLength: 1 });
  const prm = new FunctionPrm(({ prompt }) => [prompt === 'a' ? 0.25 : 0.75], { tokenizer: chat });
  const conversations = ['a', 'b', 'a'].map((problem) => ({ problem }));
  const { scores } = await scoreSteps(prm, {
    ...{ prompts: completions.map(() => chat.encode('x')), completions, cuSteps, conversations },
  });
  assert.equal(Array.from(scores), [0.25, 0.75, 0.25]);
});
prompts.run();

const FIXTURES = fileURLToPath(new URL('../fixtures/tokenizers', import.meta.url));
const texts = suite('Ids of texts');
for (const kind of ['llama3', 'llama2', 'mistral', 'gpt2']) {
  texts(`${kind}: the ids of a text are those of transformers' tokenizer(text), wherever it is encoded`, async () => {
    const tokenizer = await Tokenizer.load(`${FIXTURES}/${kind}`);
    const { encode } = JSON.parse(readFileSync(`${FIXTURES}/${kind}/cases.json`, 'utf8')) as {
      encode: { text: string; ids: number[]; special?: number[] }[];
    };
    const limits = {
      ...{ config: { vocab_size: tokenizer.vocabSize, max_position_embeddings: 4096 } as never, eos: [] },
      ...{ maxCompletions: 10, encode: tokenizer.encode.bind(tokenizer) },
    };
    const task = { ...echoTask, tokenizer };
    // The ids with special tokens are stored for models that have such, of some texts.
    const stored = encode.filter(({ special }) => special !== undefined);
    for (const { text, ids, special = ids } of stored.length > 0 ? stored : encode) {
      if (special.length === 0) continue;
      const served = (more: object) => Array.from(readCompletionRequest({ prompt: text, ...more }, limits).prompts[0]);
      assert.equal(served({}), special, text);
      assert.equal(served({ add_special_tokens: true }), special, text);
      if (ids.length > 0) assert.equal(served({ add_special_tokens: false }), ids, text);
      assert.equal(Array.from(encodeProblem(task, { prompt: text, answer: '' })), special, text);
    }
    assert.equal(conversationOf(task, { prompt: 'x', answer: '' }), { problem: 'x' });
  });
}
texts.run();
