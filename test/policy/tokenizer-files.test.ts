// Tokenizers of every supported kind against the Python library: ids, texts and chat templates.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ChatMessage, Tokenizer } from '../../lib/index.js';
import { patternOf, safeLength, splitBy } from '../../lib/policy/patterns.js';
import { throwsError } from '../reference/numbers.js';
import { rejectsWith } from './rejects.js';

const FIXTURES = fileURLToPath(new URL('../fixtures/tokenizers', import.meta.url));
const KINDS = ['gpt2', 'deepseek', 'llama3', 'qwen2', 'llama2', 'mistral', 'metaspace'];

interface Cases {
  encode: { text: string; ids: number[]; decoded?: string; special?: number[] }[];
  decode: { ids: number[]; decoded: string; whole: string }[];
  chat: { messages: ChatMessage[]; options: Record<string, unknown>; text?: string; ids?: number[]; raises?: string }[];
}
const fails = (run: () => unknown, code: string, why: RegExp) => throwsError(run, Error, code, why);
const rejects = (promise: Promise<unknown>, code: string, why: RegExp) => rejectsWith(promise, Error, code, why);
const read = (...path: string[]) => JSON.parse(readFileSync(join(FIXTURES, ...path), 'utf8'));
const loaded = new Map<string, Tokenizer>();
for (const kind of KINDS) loaded.set(kind, await Tokenizer.load(join(FIXTURES, kind)));
const cases = (kind: string) => read(kind, 'cases.json') as Cases;

const exact = suite('Tokenizer against the Python library');
for (const kind of KINDS) {
  const tokenizer = loaded.get(kind)!;
  exact(`${kind}: encode gives the ids of Python, with and without special tokens`, () => {
    for (const { text, ids, special } of cases(kind).encode) {
      assert.equal(Array.from(tokenizer.encode(text)), ids, JSON.stringify(text));
      if (special) assert.equal(Array.from(tokenizer.encode(text, { addSpecialTokens: true })), special, text);
    }
  });
  exact(`${kind}: decode gives the text of Python, also for ids in any order`, () => {
    for (const { text, ids, decoded = text } of cases(kind).encode) assert.is(tokenizer.decode(ids), decoded);
    for (const { ids, decoded, whole } of cases(kind).decode) {
      assert.is(tokenizer.decode(ids), decoded, ids.join());
      assert.is(tokenizer.decode(ids, { skipSpecialTokens: false }), whole, ids.join());
    }
  });
  exact(`${kind}: pieces gives the decoded text, token by token`, () => {
    for (const { ids, decoded } of cases(kind).decode) assert.is(tokenizer.pieces(ids).join(''), decoded);
    for (const { text, ids, decoded = text } of cases(kind).encode) {
      const pieces = tokenizer.pieces(ids);
      assert.is(pieces.length, ids.length);
      assert.is(pieces.join(''), decoded);
      // No piece holds a part of a character.
      if (!text.includes('\ufffd'))
        assert.not.ok(
          pieces.some((piece) => piece.includes('\ufffd')),
          text,
        );
      // The beginning of a text that ends with this token says the same; it may end with a part of the next character.
      for (let t = 0; t < pieces.length; t++)
        if (pieces[t] !== '')
          assert.is(tokenizer.decode(ids.slice(0, t + 1)).replace(/\ufffd$/, ''), pieces.slice(0, t + 1).join(''));
    }
  });
}
interface Variant {
  name: string;
  base: string;
  tokenizer: { model?: object; added_tokens?: object[] };
  config: Record<string, unknown>;
  specialTokensMap?: Record<string, unknown>;
  addedTokens?: Record<string, unknown>;
  size: number;
  cases: { text: string; ids: number[]; special?: number[]; decoded?: string; whole?: string }[];
}
const variants: Variant[] = read('variants.json');
const ofVariant = ({ base, tokenizer: { model, added_tokens = [], ...more }, config, ...files }: Variant) => {
  const json = read(base, 'tokenizer.json');
  const whole = { ...json, ...more, model: { ...json.model, ...model } };
  whole.added_tokens = [...json.added_tokens, ...added_tokens];
  const { specialTokensMap, addedTokens } = files;
  return new Tokenizer(whole, config, { specialTokensMap, addedTokens });
};
for (const variant of variants)
  exact(`${variant.base} with ${variant.name}: ids and texts are those of transformers`, () => {
    const tokenizer = ofVariant(variant);
    assert.is(tokenizer.vocabSize, variant.size);
    for (const { text, ids, special = ids, decoded = text, whole = text } of variant.cases) {
      assert.equal(Array.from(tokenizer.encode(text)), ids, JSON.stringify(text));
      assert.equal(Array.from(tokenizer.encode(text, { addSpecialTokens: true })), special, JSON.stringify(text));
      assert.is(tokenizer.decode(ids), decoded);
      assert.is(tokenizer.decode(ids, { skipSpecialTokens: false }), whole);
      assert.is(tokenizer.pieces(ids).join(''), decoded);
    }
  });
exact('tokens of special_tokens_map.json and added_tokens.json are loaded from a folder, and saved', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-tokenizer-'));
  try {
    for (const name of ['added_tokens.json', 'special_tokens_map.json']) {
      const variant = variants.find((each) => each.name === name)!;
      await ofVariant(variant).save(folder);
      const again = await Tokenizer.load(folder);
      for (const { text, ids } of variant.cases) assert.equal(Array.from(again.encode(text)), ids);
      for (const file of readdirSync(folder)) rmSync(join(folder, file));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
exact('a word of 200,000 characters takes no longer per character, and its text comes back', () => {
  for (const kind of ['gpt2', 'llama2']) {
    const word = 'theab'.repeat(40_000);
    const start = process.cpuUsage();
    const ids = loaded.get(kind)!.encode(word);
    // Usually 0.2 s. In quadratic time it would be minutes.
    assert.ok(process.cpuUsage(start).user < 5e6, kind);
    assert.is(loaded.get(kind)!.decode(ids), word);
    const [one, more] = [1, 4].map((count) => loaded.get(kind)!.encode('theab'.repeat(10 * count)).length);
    assert.ok(ids.length <= (4000 * (more - one)) / 3 + one, 'as many tokens per character as in a short word');
  }
});
exact('pieces that are remembered give the same ids again, also after they are forgotten', () => {
  const tokenizer = loaded.get('qwen2')!;
  const text = 'the roots are x = 2 and x = 3, éà ½ the roots';
  const ids = tokenizer.encode(text);
  for (let i = 0; i < 20; i++) {
    tokenizer.encode(
      Array.from({ length: 1500 }, (_, k) => ` w${String.fromCharCode(97 + (k % 26)).repeat(i)}${k}`).join(''),
    );
    assert.equal(tokenizer.encode(text), ids);
  }
});
exact('a token inside which a word begins is found, where other words are split off', () => {
  const json = read('llama2', 'tokenizer.json');
  const size = Object.keys(json.model.vocab).length;
  json.model.vocab['x\u2581='] = size;
  json.model.merges.push(['x', '\u2581=']);
  json.added_tokens = [];
  const tokenizer = new Tokenizer(json, { eos_token: '</s>' });
  assert.ok(tokenizer.encode('a=x = 5').includes(size));
  assert.is(tokenizer.decode(tokenizer.encode('the x = 5 a =x =')), 'the x = 5 a =x =');
});
exact('half a character is refused, as Python refuses it', () => {
  for (const text of ['\ud83d', 'a\udc00b'])
    fails(() => loaded.get('qwen2')!.encode(text), 'ERR_PRL_OUT_OF_RANGE', /half a character/);
});
exact('decode ignores ids that the vocabulary lacks', () => {
  for (const tokenizer of loaded.values()) {
    const [x] = tokenizer.encode('x');
    assert.is(tokenizer.decode([x, tokenizer.vocabSize + 5, x, 1e9, -1]), tokenizer.decode([x, x]));
  }
});
exact('a saved tokenizer loads as the same', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-tokenizer-'));
  try {
    for (const [kind, tokenizer] of loaded) {
      await tokenizer.save(folder);
      const again = await Tokenizer.load(folder);
      for (const { text, ids } of cases(kind).encode) assert.equal(Array.from(again.encode(text)), ids);
      assert.equal(again.stopTokenIds, tokenizer.stopTokenIds);
      assert.is(again.hasChatTemplate, tokenizer.hasChatTemplate);
      for (const name of readdirSync(folder)) rmSync(join(folder, name));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
exact.run();

const chat = suite('Tokenizer.applyChatTemplate');
for (const kind of ['llama3', 'qwen2', 'mistral'])
  chat(`${kind}: applyChatTemplate gives the text, ids and errors of transformers`, () => {
    const tokenizer = loaded.get(kind)!;
    for (const { messages, options, text, ids, raises } of cases(kind).chat) {
      const { add_generation_prompt, tools, ...variables } = options;
      const ours = { addGenerationPrompt: add_generation_prompt as boolean, tools: tools as object[], variables };
      if (raises === undefined) {
        assert.is(tokenizer.applyChatTemplate(messages, ours), text);
        assert.equal(Array.from(tokenizer.encodeChat(messages, ours)), ids);
      } else
        fails(
          () => tokenizer.applyChatTemplate(messages, ours),
          'ERR_PRL_TEMPLATE',
          new RegExp(raises.replace(/[/.]/g, '\\$&')),
        );
    }
  });
const USER = [{ role: 'user', content: 'Hi' }];
const withTemplate = (chat_template: unknown) =>
  new Tokenizer(read('qwen2', 'tokenizer.json'), { eos_token: '<|im_end|>', chat_template });
chat('applyChatTemplate picks a template by name and refuses an absent one', () => {
  const mistral = loaded.get('mistral')!;
  const tools = [{ name: 'solve' }];
  assert.is(mistral.applyChatTemplate(USER, { tools }), '<s>[TOOLS]solveHI');
  assert.match(mistral.applyChatTemplate(USER, { tools, template: 'default' }), '[INST] Hi [/INST]');
  fails(
    () => mistral.applyChatTemplate(USER, { template: 'rag' }),
    'ERR_PRL_OUT_OF_RANGE',
    /one of 'default', 'tool_use', not 'rag'/,
  );
  assert.is(loaded.get('gpt2')!.hasChatTemplate, false);
  fails(() => loaded.get('gpt2')!.applyChatTemplate(USER), 'ERR_PRL_UNSUPPORTED', /no chat template/);
});
chat('applyChatTemplate refuses wrong messages and unknown options', () => {
  const qwen2 = loaded.get('qwen2')!;
  for (const wrong of [[], [{}], ['x'], 'x', null, [null]])
    fails(
      () => qwen2.applyChatTemplate(wrong as ChatMessage[]),
      'ERR_PRL_INVALID_ARGUMENT',
      /messages(\[0\])? must be/,
    );
  fails(
    () => qwen2.applyChatTemplate(USER, { generationPrompt: true } as object),
    'ERR_PRL_UNKNOWN_OPTION',
    /addGenerationPrompt/,
  );
});
chat('a chat template that does not parse or that fails is ERR_PRL_TEMPLATE', () => {
  for (const [template, why] of [
    ['{% if %}', /cannot be read/],
    ['{{ messages | nosuch }}', /refuses these messages/],
    ['{{ raise_exception("no") }}', /: no$/],
    ['{% for', /cannot be read/],
  ] as const)
    fails(() => withTemplate(template).applyChatTemplate(USER), 'ERR_PRL_TEMPLATE', why);
  for (const wrong of [5, {}, [], [{ name: 'default' }], [null], 'x'.repeat(2 << 20)])
    fails(() => withTemplate(wrong), 'ERR_PRL_CORRUPT', /chat_template/);
});
chat('a chat template that never ends or needs all memory is stopped', () => {
  const nested = (depth: number, inner: string): string =>
    depth === 0
      ? inner
      : `{% for x in messages %}{% for x in messages %}${nested(depth - 1, inner)}{% endfor %}{% endfor %}`;
  const doubled = '{% set x = namespace(y="long") %}{% for i in range(99) %}{% set x.y = x.y ~ x.y %}{% endfor %}';
  for (const [template, code] of [
    ['{% for i in range(1000000000) %}{% endfor %}', 'TEMPLATE'],
    ['{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}', 'TIMEOUT'],
    [nested(20, 'x'), 'TIMEOUT'],
    [`{{ 1${'+1'.repeat(40_000)} }}`, 'TEMPLATE'],
    [`${doubled}{{ x.y }}`, 'TEMPLATE'],
    [`{{ ${'['.repeat(100_000)}${']'.repeat(100_000)} }}`, 'TEMPLATE'],
  ] as const) {
    const tokenizer = withTemplate(template);
    const start = process.cpuUsage();
    fails(() => tokenizer.applyChatTemplate([...USER, ...USER]), `ERR_PRL_${code}`, /chat template 'default'/);
    const { user } = process.cpuUsage(start);
    assert.ok(user < 8e6, `${template.slice(0, 60)} took ${user / 1e6} s`);
  }
  const deep: unknown[] = [];
  for (let i = 0, at = deep; i < 100_000; i++) at.push((at = []));
  fails(() => withTemplate([deep]), 'ERR_PRL_CORRUPT', /nested too deep/);
});
chat('a chat template sees no prototypes and no globals', () => {
  const seen = (template: string) => withTemplate(template).applyChatTemplate(USER);
  assert.is(seen("{{ 'seen' if messages.constructor is defined }}"), '');
  assert.is(seen("{{ 'seen' if messages[0].__proto__ is defined }}"), '');
  assert.is(seen("{{ 'seen' if process is defined }}"), '');
});
chat.run();

const stop = suite('Tokenizer.stopTokenIds');
const stopsOf = (generation: object | undefined, config = { eos_token: '<|im_end|>' } as object) =>
  new Tokenizer(read('qwen2', 'tokenizer.json'), config as never, { generation: generation as never }).stopTokenIds;
const id = (token: string) => loaded.get('qwen2')!.tokenId(token)!;
stop('stop tokens are those of generation_config.json and eos, each once', () => {
  const llama3 = loaded.get('llama3')!;
  const names = ['<|end_of_text|>', '<|eom_id|>', '<|eot_id|>'];
  assert.equal(
    llama3.stopTokenIds,
    names.map((name) => llama3.tokenId(name)),
  );
  assert.is(llama3.eosToken, '<|eot_id|>');
  assert.equal(stopsOf(undefined), [id('<|im_end|>')]);
  assert.equal(stopsOf({}), [id('<|im_end|>')]);
  assert.equal(stopsOf({ eos_token_id: null }), [id('<|im_end|>')]);
  assert.equal(stopsOf({ eos_token_id: id('<|endoftext|>') }), [id('<|endoftext|>'), id('<|im_end|>')]);
  assert.equal(stopsOf({ eos_token_id: [id('<|endoftext|>')] }, {}), [id('<|endoftext|>')]);
});
stop('an eos_token_id outside the vocabulary is ERR_PRL_CORRUPT', () => {
  for (const wrong of [99999, -1, 'x', [1.5], [[1]], {}])
    fails(() => stopsOf({ eos_token_id: wrong }), 'ERR_PRL_CORRUPT', /eos_token_id/);
  fails(() => stopsOf(undefined, {}), 'ERR_PRL_CORRUPT', /no end-of-sequence token/);
});
stop('stop tokens come from config.json when generation_config.json is absent', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-tokenizer-'));
  try {
    cpSync(join(FIXTURES, 'qwen2'), folder, { recursive: true });
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ eos_token_id: id('<|endoftext|>') }));
    assert.equal((await Tokenizer.load(folder)).stopTokenIds, [id('<|endoftext|>'), id('<|im_end|>')]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
stop('special tokens of tokenizer_config.json alone are never split and decode to no text', () => {
  const json = read('llama2', 'tokenizer.json');
  json.added_tokens = [];
  json.post_processor = null;
  const tokenizer = new Tokenizer(json, { eos_token: '</s>' });
  assert.equal(Array.from(tokenizer.encode('</s>')), [2]);
  assert.is(tokenizer.decode([2]), '');
});
stop.run();

const hostile = suite('Tokenizer.load: hostile files');
// biome-ignore lint/suspicious/noExplicitAny: what a test breaks has no type
type Change = (json: Record<string, any>) => unknown;
const NEW = { id: 500, content: '<x>', special: false, normalized: false };
const ONLY = {
  type: 'TemplateProcessing',
  single: [{ Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
  special_tokens: {},
};
const changed = (change: Change, kind = 'qwen2') => {
  const json = read(kind, 'tokenizer.json');
  change(json);
  return () => new Tokenizer(json, { eos_token: kind === 'qwen2' ? '<|im_end|>' : '</s>' });
};
for (const [what, why, change] of [
  ['no model', /no model/, (j) => delete j.model],
  ['a model that is a list', /no model/, (j) => (j.model = [])],
  ['no vocabulary', /needs a vocabulary/, (j) => delete j.model.vocab],
  ['ids that are text', /gives "a" the id "7"/, (j) => (j.model.vocab.a = '7')],
  ['an id that would need much memory', /gives "a" the id 4000000000/, (j) => (j.model.vocab.a = 4e9)],
  ['a negative id', /the id -1/, (j) => (j.model.vocab.a = -1)],
  ['an id twice', /id 7 twice/, (j) => ([j.model.vocab.a, j.model.vocab.b] = [7, 7])],
  ['a merge of what is no token', /the merge/, (j) => j.model.merges.push(['zz', 'qq'])],
  ['a merge that is none', /the merge 5/, (j) => (j.model.merges[3] = 5)],
  ['merges of two kinds', /the merge "a b"/, (j) => j.model.merges.push('a b')],
  ['an added token without text', /added token/, (j) => (j.added_tokens[0].content = '')],
  ['an added token that is null', /added token null/, (j) => (j.added_tokens[0] = null)],
  ['an added token in the place of another', /its vocabulary has another id/, (j) => (j.added_tokens[0].id = 3)],
  ['added tokens that are no list', /must have a list of added_tokens/, (j) => (j.added_tokens = {})],
  ['a decoder that is a number', /decodes by/, (j) => (j.decoder = 5)],
  ['a pattern that is no expression', /cannot be built/, (j) => (j.pre_tokenizer.pretokenizers[0].pattern.Regex = '(')],
  [
    'steps nested without end',
    /levels deep/,
    (j) => {
      for (let i = 0; i < 10_000; i++) j.normalizer = { type: 'Sequence', normalizers: [j.normalizer] };
    },
  ],
] as [string, RegExp, Change][])
  hostile(`a tokenizer.json with ${what} is refused`, () =>
    fails(changed(change), /decodes by/.test(why.source) ? 'ERR_PRL_UNSUPPORTED' : 'ERR_PRL_CORRUPT', why),
  );
for (const [what, why, change] of [
  ['another model', /type "Unigram", not BPE/, (j) => (j.model.type = 'Unigram')],
  ['dropout', /dropout 0.1/, (j) => (j.model.dropout = 0.1)],
  ['another normalizer', /normalizes with "Lowercase"/, (j) => (j.normalizer = { type: 'Lowercase' })],
  [
    'a replacement by a pattern',
    /normalizes with "Replace"/,
    (j) => (j.normalizer = { type: 'Replace', pattern: { Regex: 'a+' }, content: 'a' }),
  ],
  ['another pre-tokenizer', /splits text with "Whitespace"/, (j) => (j.pre_tokenizer = { type: 'Whitespace' })],
  [
    'another behavior',
    /behavior "MergedWithNext"/,
    (j) => (j.pre_tokenizer.pretokenizers[0].behavior = 'MergedWithNext'),
  ],
  ['an inverted pattern', /inverted/, (j) => (j.pre_tokenizer.pretokenizers[0].invert = true)],
  ['another decoder', /decodes by "WordPiece"/, (j) => (j.decoder = { type: 'WordPiece' })],
  ['an added token with another id', /as 500 in tokenizer.json.*, 405/, (j) => j.added_tokens.push(NEW)],
  ['bytes that are no tokens', /without the token <0x00>/, (j) => (j.model.byte_fallback = true)],
  ['two templates', /two templates/, (j) => (j.post_processor = { type: 'Sequence', processors: [ONLY, ONLY] })],
  [
    'Metaspace first after a normalizer',
    /Metaspace \(prepend_scheme first\) after "NFC"/,
    (j) => j.pre_tokenizer.pretokenizers.push({ type: 'Metaspace', prepend_scheme: 'first' }),
  ],
] as [string, RegExp, Change][])
  hostile(`a tokenizer.json that would encode other than Python is refused: ${what}`, () =>
    fails(changed(change), 'ERR_PRL_UNSUPPORTED', why),
  );
const withConfig = (config: object, files = {}) =>
  new Tokenizer(read('qwen2', 'tokenizer.json'), { eos_token: '<|im_end|>', ...config }, files);
hostile('tokens of the other files that Python would number or write otherwise are refused', () => {
  const decoder = (id: number, more = {}) => ({ added_tokens_decoder: { [id]: { content: '<x>', ...more } } });
  fails(() => withConfig(decoder(500)), 'ERR_PRL_UNSUPPORTED', /"<x>" as 500 in tokenizer_config.json.*, 405/);
  fails(() => withConfig(decoder(7)), 'ERR_PRL_CORRUPT', /"<x>" as 7 in tokenizer_config.json/);
  const addedTokens = { '<x>': 406 };
  fails(() => withConfig({}, { addedTokens }), 'ERR_PRL_UNSUPPORTED', /"<x>" as 406 in added_tokens.json.*, 405/);
  const both = {
    pad_token: { content: 'e\u0301', normalized: true },
    mask_token: { content: 'e\u0301', normalized: false },
  };
  fails(() => withConfig(both), 'ERR_PRL_UNSUPPORTED', /as normalized in one file and not in another/);
  const forced = 'clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output';
  fails(
    () => withConfig({ clean_up_tokenization_spaces: true, [forced]: true }),
    'ERR_PRL_UNSUPPORTED',
    /spaces are never removed/,
  );
});
hostile('tokens of the other files that are no tokens are ERR_PRL_CORRUPT', () => {
  const deep: unknown[] = [];
  for (let i = 0, at = deep; i < 100_000; i++) at.push((at = []));
  for (const config of [
    { added_tokens_decoder: [] },
    { added_tokens_decoder: { x: { content: '<x>' } } },
    { added_tokens_decoder: { 4e9: { content: '<x>' } } },
    { added_tokens_decoder: { 405: '<x>' } },
    { added_tokens_decoder: { 405: { content: '' } } },
    { added_tokens_decoder: { 405: { content: '<x>', lstrip: 'yes' } } },
    { additional_special_tokens: '<x>' },
    { extra_special_tokens: [5] },
    { extra_special_tokens: ['\ud800'] },
    { extra_special_tokens: { image: deep } },
  ])
    fails(() => withConfig(config), 'ERR_PRL_CORRUPT', /the tokenizer .*(token|added_tokens_decoder)/);
  fails(() => withConfig({}, { addedTokens: { '<x>': -1 } }), 'ERR_PRL_CORRUPT', /"<x>" as -1 in added_tokens.json/);
});
hostile('vocabulary keys such as __proto__ are ordinary tokens and pollute nothing', () => {
  const text = '{"a":1,"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}';
  const json = read('mistral', 'tokenizer.json');
  const vocab = Object.entries(json.model.vocab).map(([token, id]) => `${JSON.stringify(token)}:${id}`);
  const size = vocab.length;
  json.model = JSON.parse(
    JSON.stringify({ ...json.model, vocab: 'V' }).replace(
      '"V"',
      `{${vocab},"__proto__":${size},"constructor":${size + 1},"toString":${size + 2},"hasOwnProperty":${size + 3}}`,
    ),
  );
  // The words are before the tokens that the vocabulary lacks.
  for (const token of json.added_tokens) if (token.id >= size) token.id += 4;
  json.added_tokens.push({ id: size, content: '__proto__', special: false, normalized: false });
  const tokenizer = new Tokenizer(json, { eos_token: '</s>', ...JSON.parse(text) });
  assert.equal(Array.from(tokenizer.encode('__proto__')), [size]);
  assert.is(tokenizer.decode([size, size + 1, size + 2]), '__proto__constructortoString');
  assert.is(tokenizer.decode(tokenizer.encode('constructor')), 'constructor');
  assert.is(({} as { polluted?: boolean }).polluted, undefined);
});
hostile('a pattern that backtracks without end is ERR_PRL_TIMEOUT', () => {
  const tokenizer = changed((j) => (j.pre_tokenizer.pretokenizers[0].pattern.Regex = '(a+)+$|(b|b)*c'))();
  const start = process.cpuUsage();
  fails(() => tokenizer.encode(`${'a'.repeat(60)}!`), 'ERR_PRL_TIMEOUT', /encoding 61 characters .* more than 1007 ms/);
  assert.ok(process.cpuUsage(start).user < 8e6);
  assert.ok(tokenizer.encode('b').length > 0);
});
hostile('a pattern splits unwatched only texts that it splits in a bounded time', () => {
  const lengthOf = (Regex: string) => safeLength([patternOf({ Regex })]);
  for (const endless of ['(a+)+$', '(?:a|a)*b', '(a?b?)*c', '(?:a{2,3})+c', '(a*?)\\1b', `${'a?'.repeat(30)}b`])
    assert.is(lengthOf(endless), 0, endless);
  const llama3 = read('llama3', 'tokenizer.json').pre_tokenizer.pretokenizers[0].pattern.Regex;
  assert.ok(lengthOf(llama3) > 2000);
  for (const slow of ['a*b', 'a*a*b', '(?=a*b)', '(?:a*a*b|a*c|)', 'a{1,50}a{1,50}b']) {
    const start = process.cpuUsage();
    splitBy(patternOf({ Regex: slow }), 'a'.repeat(lengthOf(slow)));
    assert.ok(process.cpuUsage(start).user < 3e6, slow);
  }
});
hostile('values nested too deeply for a message are ERR_PRL_CORRUPT', () => {
  const deep: unknown[] = [];
  for (let i = 0, at = deep; i < 100_000; i++) at.push((at = []));
  for (const change of [
    (j) => (j.model.merges = [deep]),
    (j) => (j.model.merges = [[deep, deep]]),
    (j) => (j.model.vocab.a = deep),
    (j) => (j.added_tokens[0].content = deep),
    (j) => (j.pre_tokenizer.pretokenizers[0].pattern = { Regex: deep }),
  ] as Change[])
    fails(changed(change), 'ERR_PRL_CORRUPT', /the tokenizer/);
  const generation = { eos_token_id: [deep] };
  fails(() => stopsOf(generation), 'ERR_PRL_CORRUPT', /eos_token_id a value that is nested too deep/);
});
hostile('files truncated, nested deeply, huge or no object are ERR_PRL_CORRUPT and named', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-tokenizer-'));
  const file = join(folder, 'tokenizer.json');
  const load = (content: string) => {
    writeFileSync(file, content);
    return Tokenizer.load(folder);
  };
  try {
    await rejects(Tokenizer.load(folder), 'ERR_PRL_IO', /cannot read the tokenizer .*tokenizer.json/);
    writeFileSync(join(folder, 'tokenizer_config.json'), '{"eos_token":"<|im_end|>"}');
    const whole = readFileSync(join(FIXTURES, 'qwen2/tokenizer.json'), 'utf8');
    await load(whole);
    for (const length of [0, 1, 100, whole.length >> 1, whole.length - 3])
      await rejects(load(whole.slice(0, length)), 'ERR_PRL_CORRUPT', /tokenizer.json is not JSON/);
    for (const wrong of ['5', 'null', '[]', '"x"'])
      await rejects(load(wrong), 'ERR_PRL_CORRUPT', /does not hold an object/);
    const deep = 1_000_000;
    for (const nested of [
      `{"model":${'['.repeat(deep)}${']'.repeat(deep)}}`,
      `${'{"a":'.repeat(deep)}1${'}'.repeat(deep)}`,
    ])
      await rejects(load(nested), 'ERR_PRL_CORRUPT', /no model|not JSON/);
    truncateSync(file, 2 ** 31); // a hole: no disk is used
    await rejects(Tokenizer.load(folder), 'ERR_PRL_CORRUPT', /has 2147483648 bytes, more than 268435456/);
    writeFileSync(file, whole);
    const generation = (content: string) => {
      writeFileSync(join(folder, 'generation_config.json'), content);
      return Tokenizer.load(folder);
    };
    for (const cut of ['', '{', '{"eos_token_id":', '{"eos_token_id":[1,'])
      await rejects(generation(cut), 'ERR_PRL_CORRUPT', /generation_config.json is not JSON/);
    for (const wrong of ['5', 'null', '[]', '"x"'])
      await rejects(generation(wrong), 'ERR_PRL_CORRUPT', /generation_config.json does not hold an object/);
    for (const nested of [
      `{"a":${'['.repeat(deep)}${']'.repeat(deep)}}`,
      `{"eos_token_id":${'['.repeat(1000)}${']'.repeat(1000)}}`,
    ])
      await rejects(
        generation(nested),
        'ERR_PRL_CORRUPT',
        /generation_config.json is not JSON: it is nested more than 16 deep/,
      );
    for (const id of ['"1"', '{}', '[[1]]', '-1', '1.5', '1e300', 'true', '[1,"__proto__"]', '{"length":1,"0":1}'])
      await rejects(
        generation(`{"eos_token_id":${id}}`),
        'ERR_PRL_CORRUPT',
        /generation_config.json has the eos_token_id/,
      );
    await rejects(
      generation('{"__proto__":{"eos_token_id":5e5},"eos_token_id":-7}'),
      'ERR_PRL_CORRUPT',
      /has the eos_token_id -7/,
    );
    // What it has no use for is passed over, whatever it is called.
    const { stopTokenIds } = await generation(
      '{"__proto__":{"eos_token_id":-7,"polluted":1},"constructor":{"prototype":{"polluted":1}}}',
    );
    assert.equal(stopTokenIds, (await load(whole)).stopTokenIds);
    assert.is(({} as { polluted?: number }).polluted, undefined);
    truncateSync(join(folder, 'generation_config.json'), 2 ** 31);
    await rejects(Tokenizer.load(folder), 'ERR_PRL_CORRUPT', /generation_config.json has 2147483648 bytes/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
hostile.run();
