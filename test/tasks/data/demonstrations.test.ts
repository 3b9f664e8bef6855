// Demonstrations as TRL makes them of the same rows, truncation, and rows that cannot be used.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type DemonstrationOptions, loadDemonstrations, PrlError, Tokenizer } from '../../../lib/index.js';
import { rejectsWith } from '../../policy/rejects.js';

const demonstrations = suite('demonstrations');
const folder = mkdtempSync(join(tmpdir(), 'prl-demonstrations-'));
demonstrations.after(() => rmSync(folder, { recursive: true }));

const fixtures = new URL('../../fixtures/', import.meta.url);
const json = (path: string) => JSON.parse(readFileSync(new URL(path, fixtures), 'utf8'));
interface Case {
  kind: string;
  row: object;
  flags: { completion_only_loss?: boolean; assistant_only_loss?: boolean };
  ids: number[];
  labels: number[];
}
const { template, cases }: { template: string; cases: Case[] } = json('sft/rows.json');
const model = 'tokenizers/qwen2';
const withTemplate = (chat_template: string) =>
  new Tokenizer(json(`${model}/tokenizer.json`), { ...json(`${model}/tokenizer_config.json`), chat_template });
const tokenizer = withTemplate(template);

let files = 0;
function load(rows: readonly object[], options: Partial<DemonstrationOptions> = {}) {
  const file = join(folder, `${files++}.jsonl`);
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return loadDemonstrations(file, { tokenizer, ...options });
}
const idsOf = ({ prompt, completion }: { prompt: Int32Array; completion: Int32Array }) => [...prompt, ...completion];

for (const [index, { kind, row, flags, ids, labels }] of cases.entries()) {
  demonstrations(`ids and learned tokens are TRL's: row ${index}, ${kind} ${JSON.stringify(flags)}`, async () => {
    const { completion_only_loss: completionOnlyLoss, assistant_only_loss: assistantOnlyLoss } = flags;
    const { demonstrations: found } = await load([row], { completionOnlyLoss, assistantOnlyLoss, maxLength: 64 });
    assert.is(found.length, 1);
    const [{ prompt, completion, mask }] = found;
    assert.equal(idsOf(found[0]), ids);
    // A model predicts no first token, so TRL's label of it has no effect.
    const learned = [...prompt.fill(-100), ...completion.map((id, i) => (mask?.[i] === 0 ? -100 : id))];
    assert.equal(learned.slice(1), labels.slice(1));
  });
}

demonstrations('prompts are framed as reinforcement learning will show them', async () => {
  const row = { question: '1+1?', solution: ' 2' };
  const fields = { promptField: 'question', completionField: 'solution' };
  const [framed] = (await load([row], { ...fields, promptTemplate: 'question' })).demonstrations;
  assert.is(tokenizer.decode(framed.prompt), 'Question: 1+1?\nAnswer:');
  assert.is(tokenizer.decode(framed.completion, { skipSpecialTokens: false }), ' 2<|im_end|>');
  const [chat] = (await load([row], { ...fields, promptTemplate: 'chat' })).demonstrations;
  assert.equal(
    [...chat.prompt],
    [...tokenizer.encodeChat([{ role: 'user', content: '1+1?' }], { addGenerationPrompt: true })],
  );
  assert.is(tokenizer.decode(chat.completion, { skipSpecialTokens: false }), ' 2<|im_end|>\n');
});

demonstrations(
  'a demonstration that is too long loses its end; one without a learned token left is dropped',
  async () => {
    const rows = [
      { prompt: 'abc', completion: 'defghij' },
      { prompt: 'abcdefghijklmnop', completion: 'q' },
      { prompt: 'a', completion: 'b' },
    ];
    const whole = await load(rows);
    assert.is(whole.report.truncated, 0);
    const [first, second] = whole.demonstrations.map((each) => idsOf(each));
    const maxLength = second.length - 2;
    const { demonstrations: found, report } = await load(rows, { maxLength: Math.min(maxLength, first.length - 1) });
    assert.equal(idsOf(found[0]), first.slice(0, Math.min(maxLength, first.length - 1)));
    assert.is(report.truncated, 2);
    assert.equal(Object.keys(report.dropped), ['nothing to learn within maxLength']);
    assert.is(report.kept, 2);
  },
);

demonstrations('the fingerprint says whether two sets are the same', async () => {
  const [a, b] = [
    { prompt: 'a', completion: 'b' },
    { prompt: 'abc def', completion: 'c' },
  ];
  const of = async (...args: Parameters<typeof load>) => (await load(...args)).fingerprint;
  assert.is(await of([a, b]), await of([a, b]));
  const others = [of([b, a]), of([a]), of([a, b], { completionOnlyLoss: false }), of([a, { ...b, completion: 'd' }])];
  for (const other of await Promise.all(others)) assert.is.not(other, await of([a, b]));
});

const chat = (...roles: string[]) => ({ messages: roles.map((role, i) => ({ role, content: `text ${i}` })) });
const refused: [what: string, rows: object[], options: Partial<DemonstrationOptions>, message: RegExp][] = [
  [
    'without a usual field',
    [{ q: 'a', a: 'b' }],
    {},
    /no field messages, nor prompt and completion, nor text: its fields are q, a/,
  ],
  [
    'without the field that is asked for',
    [{ text: 'a' }],
    { messagesField: 'chat' },
    /no field chat: its fields are text/,
  ],
  ['with an empty text', [{ text: 'a' }, { text: '' }], {}, /jsonl:2: 'text' must be a text that is not empty/],
  ['with a number as completion', [{ prompt: 'a', completion: 5 }], {}, /'completion' must be a text/],
  ['with a message that has no role', [{ messages: [{ content: 'a' }] }], {}, /'messages' must be a list of messages/],
  ['with no message of the assistant', [chat('user')], {}, /no message of the assistant to learn/],
];
for (const [what, rows, options, message] of refused) {
  demonstrations(`rows are refused by name ${what}`, async () => {
    const kind = /field/.test(message.source) ? TypeError : PrlError;
    const code = kind === TypeError ? 'ERR_PRL_INVALID_ARGUMENT' : 'ERR_PRL_CORRUPT';
    await rejectsWith(load(rows, options), kind, code, message);
    if (kind === PrlError && rows.length > 1)
      assert.is((await load(rows, { ...options, onInvalid: 'drop' })).report.kept, 1);
  });
}

demonstrations('a template that rewrites earlier turns is refused for conversations of several turns', async () => {
  // As of models that drop the thoughts of earlier turns.
  const forgetful = `{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.role == 'assistant' and not loop.last %}{{- '...' }}{%- else %}{{- m.content }}{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`;
  const own = withTemplate(forgetful);
  const two = chat('user', 'assistant', 'user', 'assistant');
  await rejectsWith(
    load([two], { tokenizer: own }),
    PrlError,
    'ERR_PRL_CORRUPT',
    /jsonl:1: .*writes message 2 in another way/,
  );
  assert.is((await load([chat('user', 'assistant')], { tokenizer: own })).report.kept, 1);
  assert.is((await load([two], { tokenizer: own, assistantOnlyLoss: false })).report.kept, 1);
});

demonstrations.run();
