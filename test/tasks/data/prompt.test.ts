import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { characterTokenizer, datasetTask, PrlError, Tokenizer } from '../../../lib/index.js';
import { checkPrompt, type PromptOptions, promptEncoder } from '../../../lib/tasks/data/prompt.js';
import { bpeTokenizer } from '../../fakes/bpe-tokenizer.js';
import { throwsError } from '../../reference/numbers.js';

const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
const tokenizer = characterTokenizer(`${printable}\n`);
const text = (options: PromptOptions) => tokenizer.decode(promptEncoder(tokenizer, options).encode({ prompt: '1+1?' }));

const prompts = suite('prompt templates');

prompts('a plain preset or a custom template puts its text around the problem', () => {
  assert.is(text({ promptTemplate: 'none' }), '1+1?');
  assert.is(text({ promptTemplate: 'question' }), 'Question: 1+1?\nAnswer:');
  assert.is(text({}), 'Question: 1+1?\nAnswer:', 'auto, without a chat template');
  assert.is(
    text({ promptTemplate: 'Q {prompt}\nin \\boxed{} or \\frac{a}{b}:' }),
    'Q 1+1?\nin \\boxed{} or \\frac{a}{b}:',
  );
  const dollars = promptEncoder(tokenizer, { promptTemplate: 'Q {prompt}' }).encode({ prompt: "$& $' {prompt}" });
  assert.is(tokenizer.decode(dollars), "Q $& $' {prompt}", 'the problem is text, whatever it holds');
});

prompts('a template that ends with <think>: the answer of a thought that is cut counts for nothing', async () => {
  const task = async (promptTemplate: string, response: string) => {
    const dataset = { name: 'd', problems: [{ prompt: '1+1?', answer: '2' }], prompt: { promptTemplate } };
    const task = datasetTask({ tokenizer, train: { ...dataset, fingerprint: '', report: {} } as never });
    task.encode!(dataset.problems[0]);
    const verdict = await task.verify(dataset.problems[0], response, false);
    return typeof verdict === 'object' ? verdict.reward : verdict;
  };
  const cut = 'perhaps \\boxed{2}, but';
  assert.is(await task('Q {prompt}<think>\n', cut), 0);
  assert.is(await task('Q {prompt}<think>\n', `${cut} yes</think>\\boxed{2}`), 1);
  assert.is(await task('Q {prompt}\n', cut), 1);
});

prompts("a chat preset puts the model's chat template around the messages", () => {
  const chat = bpeTokenizer({ chat: true });
  const text = (options: PromptOptions, problem: { prompt: string; system?: string } = { prompt: '1 + 1?' }) =>
    chat.decode(promptEncoder(chat, options).encode(problem), { skipSpecialTokens: false });
  const turn = (role: string, content: string) => `<|im_start|>${role}\n${content}<|im_end|>\n`;
  const BOXED = 'Please reason step by step, and put your final answer within \\boxed{}.';
  const PRL = "1 + 1? Let's think step by step and output the final answer within \\boxed{}.";
  const end = '<|im_start|>assistant\n';
  assert.is(text({ promptTemplate: 'prl' }), `${turn('system', BOXED)}${turn('user', PRL)}${end}`);
  assert.is(text({}), text({ promptTemplate: 'prl' }), 'auto, with a chat template');
  assert.is(text({ promptTemplate: 'boxed' }), `${turn('system', BOXED)}${turn('user', '1 + 1?')}${end}`);
  assert.is(text({ promptTemplate: 'chat' }), `${turn('user', '1 + 1?')}${end}`);
  assert.is(text({ promptTemplate: 'none' }), '1 + 1?');
  const own = { promptTemplate: 'Q: {prompt}', systemPrompt: 'Be brief.' };
  assert.is(text(own), `${turn('system', 'Be brief.')}${turn('user', 'Q: 1 + 1?')}${end}`);
  assert.is(text({ promptTemplate: 'Q: {prompt}', chat: true }), `${turn('user', 'Q: 1 + 1?')}${end}`);
  assert.is(text(own, { prompt: 'x', system: 'Row.' }), `${turn('system', 'Row.')}${turn('user', 'Q: x')}${end}`);
  const ids = promptEncoder(chat, { promptTemplate: 'chat' }).encode({ prompt: 'x' });
  assert.is(ids[0], chat.tokenId('<|im_start|>'), 'markers are tokens, not text');
  const plain = bpeTokenizer({ chat: false });
  throwsError(
    () => promptEncoder(plain, { promptTemplate: 'boxed' }),
    PrlError,
    'ERR_PRL_UNSUPPORTED',
    /no chat template/,
  );
  throwsError(() => promptEncoder(plain, { systemPrompt: 'x' }), PrlError, 'ERR_PRL_UNSUPPORTED', /no chat template/);
});

prompts("a plain prompt begins with the model's begin-of-text token", async () => {
  const llama = await Tokenizer.load(fileURLToPath(new URL('../../fixtures/tokenizers/llama3', import.meta.url)));
  const ids = promptEncoder(llama, { promptTemplate: 'question' }).encode({ prompt: 'Why?' });
  assert.equal(ids, llama.encode('Question: Why?\nAnswer:', { addSpecialTokens: true }));
  assert.is(ids.length, llama.encode('Question: Why?\nAnswer:').length + 1, 'begin-of-text');
});

prompts('an unknown placeholder, preset or option is an error', () => {
  const rejects = (promptTemplate: string, message: RegExp) =>
    throwsError(() => checkPrompt({ promptTemplate }), RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  rejects('Question: {question}', /\{prompt\}.*\{question\}/s);
  rejects('{prompt} {answer}', /\{answer\}/);
  rejects('{prompt} {prompt}', /once, not 2 times/);
  rejects('Question:\n', /once, not 0 times/);
  rejects('boxd', /Did you mean 'boxed'/);
  throwsError(() => checkPrompt({ systemPrompt: ' ' }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /systemPrompt/);
  throwsError(
    () => checkPrompt({ systemPrompt: 'x', chat: false }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /chat to false/,
  );
});

prompts.run();
