import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkPrompt, type PromptOptions, promptEncoder } from '../../lib/data/prompt.js';
import { characterTokenizer } from '../../lib/index.js';
import { throwsError } from '../reference/numbers.js';

const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
const tokenizer = characterTokenizer(`${printable}\n`);
const text = (options: PromptOptions) => tokenizer.decode(promptEncoder(tokenizer, options).encode({ prompt: '1+1?' }));

const prompts = suite('prompt templates');

prompts('plain presets, and a text of your own', () => {
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

prompts('a wrong placeholder, preset or option is an error', () => {
  const rejects = (promptTemplate: string, message: RegExp) =>
    throwsError(() => checkPrompt({ promptTemplate }), RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  rejects('Question: {question}', /\{question\}.*\{prompt\}/s);
  rejects('{prompt} {answer}', /\{answer\}/);
  rejects('{prompt} {prompt}', /once, not 2 times/);
  rejects('Question:\n', /once, not 0 times/);
  rejects('boxd', /Did you mean 'boxed'/);
  throwsError(() => checkPrompt({ systemPrompt: ' ' }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /systemPrompt/);
  throwsError(
    () => checkPrompt({ systemPrompt: 'x', chat: false }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /chat false/,
  );
});

prompts.run();
