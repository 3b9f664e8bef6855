// Checks a tokenizer.json: its shape, so that nothing in it can do harm, and its parts, so that it encodes as the
// Python library does. Where @huggingface/tokenizers differs, the part is corrected or refused.
import * as library from '@huggingface/tokenizers';
import { PrlError } from '../base/errors.js';
import { isObject, type Json } from '../base/json.js';
import { isCount } from '../base/options.js';
import { quoted } from '../base/text.js';

export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/** Largest id. Vocabularies have about 100,000 entries, and arrays are as long as the largest id. */
const MAX_ID = 1 << 24;
/** Depth of nested sequences. Real ones have one level. */
const MAX_DEPTH = 8;

const corrupt = (what: string) => new PrlError('ERR_PRL_CORRUPT', `the tokenizer ${what}`);
const unsupported = (what: string) =>
  new PrlError('ERR_PRL_UNSUPPORTED', `the tokenizer ${what}; its tokens here would differ from those in Python`);
const isId = (value: unknown): value is number => isCount(value, MAX_ID - 1);

/** @internal The library's tokenizer, used to encode. It decodes differently from Python: see TokenDecoder. */
export function createEncoder(json: Json, added: readonly AddedToken[]): library.Tokenizer {
  const normalizers = [...parts(json.normalizer, 'normalizers')].map(checkNormalizer);
  const pretokenizers = [...parts(json.pre_tokenizer, 'pretokenizers')].flatMap(exactPreTokenizer);
  const processors = [...parts(json.post_processor, 'processors')].map((part) => checkPostProcessor(part, added));
  const sequence = (list: object) => (Object.values(list)[0].length === 0 ? null : { type: 'Sequence', ...list });
  const checked = {
    model: json.model,
    normalizer: sequence({ normalizers }),
    pre_tokenizer: sequence({ pretokenizers }),
    post_processor: sequence({ processors }),
    decoder: null,
    added_tokens: added,
  };
  try {
    // Nothing of tokenizer_config.json: Python does not read it either when it encodes.
    return new library.Tokenizer(checked, {});
  } catch (cause) {
    throw new PrlError('ERR_PRL_CORRUPT', `the tokenizer cannot be built: ${(cause as Error).message}`, { cause });
  }
}

/** Ids by token. */
export function checkVocabulary({ model }: Json): Map<string, number> {
  if (!isObject(model)) throw corrupt('has no model');
  if (model.type !== 'BPE') throw unsupported(`has a model of type ${quoted(model.type)}, not BPE`);
  for (const option of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix'])
    if (model[option]) throw unsupported(`has ${option} ${quoted(model[option])}`);
  const { vocab, merges } = model;
  if (!isObject(vocab) || !Array.isArray(merges)) throw corrupt('needs a vocabulary and a list of merges');
  const ids = new Map(Object.entries(vocab) as [string, number][]);
  const used = new Set<number>();
  for (const [token, id] of ids) {
    if (!isId(id)) throw corrupt(`gives ${quoted(token)} the id ${quoted(id)}`);
    if (used.has(id)) throw corrupt(`gives the id ${id} twice`);
    used.add(id);
  }
  const pairs = Array.isArray(merges[0]);
  for (const merge of merges) {
    const pair: unknown = pairs ? merge : typeof merge === 'string' ? merge.split(' ') : undefined;
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === 'string');
    if (!isPair || !ids.has(pair.join('')))
      throw corrupt(`has the merge ${quoted(merge)}, which is not a token of its vocabulary`);
  }
  return ids;
}

/**
 * Added tokens of tokenizer.json, and the special tokens that only tokenizer_config.json names if the vocabulary has
 * them. As in Python they are never split, and have no text.
 */
export function addedTokens(
  { added_tokens }: Json,
  vocab: Map<string, number>,
  named: readonly string[],
): AddedToken[] {
  if (added_tokens !== undefined && added_tokens !== null && !Array.isArray(added_tokens))
    throw corrupt('must have a list of added_tokens');
  const tokens = (added_tokens ?? []) as AddedToken[];
  const owner = new Map(Array.from(vocab, ([token, id]) => [id, token]));
  for (const token of tokens) {
    const { id, content, single_word } = (token ?? {}) as AddedToken & Json;
    if (!isId(id) || typeof content !== 'string' || content === '')
      throw corrupt(`has the added token ${quoted(token)}`);
    if ((vocab.get(content) ?? id) !== id || (owner.get(id) ?? content) !== content)
      throw corrupt(`adds ${quoted(content)} as ${id}, but its vocabulary has another id for it`);
    owner.set(id, content);
    if (single_word === true) throw unsupported(`has single_word on the added token ${quoted(content)}`);
  }
  const known = new Set(tokens.map(({ content }) => content));
  const missing = [...new Set(named)].filter((content) => vocab.has(content) && !known.has(content));
  const special = (content: string) => ({ id: vocab.get(content)!, content, special: true, normalized: false });
  return [...tokens.map((token) => ({ ...token, special: token.special === true })), ...missing.map(special)];
}

/** The parts of a component that may be a sequence of parts. */
function* parts(component: unknown, list: string, depth = 0): Generator<Json> {
  if (component === null || component === undefined) return;
  if (!isObject(component)) throw corrupt(`has ${quoted(component)} among its ${list}`);
  if (depth > MAX_DEPTH) throw corrupt(`nests its ${list} more than ${MAX_DEPTH} levels deep`);
  if (component.type !== 'Sequence') return yield component;
  if (!Array.isArray(component[list])) throw corrupt(`has a sequence without ${list}`);
  for (const part of component[list]) yield* parts(part, list, depth + 1);
}

function checkNormalizer(part: Json): Json {
  const { type, pattern, content, prepend } = part;
  if (type === 'NFC' || type === 'NFD' || type === 'NFKC' || type === 'NFKD') return part;
  if (type === 'Prepend' && typeof prepend === 'string') return part;
  // A dollar sign in the replacement would mean something to JavaScript.
  const from = isObject(pattern) ? pattern.String : undefined;
  if (type === 'Replace' && typeof from === 'string' && typeof content === 'string' && !content.includes('$'))
    return part;
  throw unsupported(
    `normalizes with ${quoted(type)}${type === 'Replace' ? ` of ${quoted(pattern)} by ${quoted(content)}` : ''}`,
  );
}

const split = (Regex: string): Json => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false });
/** The pattern by which GPT-2 splits text. */
const WORDS = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/**
 * The pre-tokenizer as parts that the library handles correctly: its Split, and others with the options that it knows.
 */
function exactPreTokenizer(part: Json): Json[] {
  const { type, pattern, behavior, invert } = part;
  if (type === 'Split') {
    if (behavior !== 'Isolated' || invert === true)
      throw unsupported(`splits text with behavior ${quoted(behavior)}${invert === true ? ', inverted' : ''}`);
    const source = isObject(pattern) ? (pattern.Regex ?? pattern.String) : undefined;
    if (typeof source !== 'string' || source === '') throw corrupt(`splits text by the pattern ${quoted(pattern)}`);
    return [part];
  }
  if (type === 'ByteLevel') {
    // In the library, \s includes U+FEFF and excludes U+0085. In a Split it does not.
    if (part.use_regex === false) return [part];
    if (part.add_prefix_space === true) throw unsupported('adds a space before a text and then splits it into words');
    return [split(WORDS), { ...part, use_regex: false }];
  }
  // In the library, \d covers the digits of one script only.
  if (type === 'Digits') return [split(part.individual_digits === true ? '\\p{N}' : '\\p{N}+')];
  if (type === 'Metaspace') {
    const symbol = part.replacement ?? '\u2581';
    if (typeof symbol !== 'string' || !/^[^\]\\^-]$/u.test(symbol))
      throw corrupt(`writes ${quoted(symbol)} for a space`);
    // The option's older name, which the library does not know.
    const scheme = part.prepend_scheme ?? (part.add_prefix_space === false ? 'never' : 'always');
    const spaces = { type, replacement: symbol, prepend_scheme: scheme };
    return part.split === false ? [spaces] : [spaces, split(`${symbol}?[^${symbol}]+|${symbol}`)];
  }
  throw unsupported(`splits text with ${quoted(type)}`);
}

function checkPostProcessor(part: Json, added: readonly AddedToken[]): Json {
  const { type, single, special_tokens } = part;
  if (type === 'ByteLevel') return part;
  if (type !== 'TemplateProcessing') throw unsupported(`puts tokens around a text with ${quoted(type)}`);
  if (!Array.isArray(single) || !single.every(isObject)) throw corrupt('must have a list as its template');
  for (const { SpecialToken } of single) {
    if (!isObject(SpecialToken)) continue;
    const { id } = SpecialToken;
    const ids = isObject(special_tokens) && typeof id === 'string' ? (special_tokens[id] as Json)?.ids : undefined;
    const token = added.find(({ content }) => content === id);
    if (!token || !Array.isArray(ids) || ids.length !== 1 || ids[0] !== token.id)
      throw corrupt(`puts ${quoted(id)} around a text, which is not one of its added tokens`);
  }
  return part;
}
