// The added tokens of a tokenizer: those of tokenizer.json, and those that its other files add. Order, ids and flags
// are those of transformers 5 (PreTrainedTokenizerFast).
import { PrlError } from '../base/errors.js';
import { isObject, type Json } from '../base/json.js';
import { isCount } from '../base/options.js';
import { quoted } from '../base/text.js';

/** A token that is found in the text before anything else splits it. The names are those of the files. */
export interface AddedToken {
  id: number;
  content: string;
  /** It has no text when special tokens are skipped, and is spelled out with split_special_tokens. */
  special: boolean;
  /** It is looked for in the normalized text. */
  normalized: boolean;
  /** It takes the white space to its left. */
  lstrip: boolean;
  /** It takes the white space to its right. */
  rstrip: boolean;
  /** It is not found inside a word. */
  single_word: boolean;
}

/** The files that name tokens. */
export interface TokenSources {
  /** tokenizer.json */
  tokenizer: Json;
  /** tokenizer_config.json */
  config: Json;
  /** special_tokens_map.json */
  specialTokensMap?: Json;
  /** added_tokens.json */
  addedTokens?: Json;
}

/** Largest id. Vocabularies have about 100,000 entries, and arrays are as long as the largest id. */
const MAX_ID = 1 << 24;
const NAMES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];
const FLAGS = ['special', 'normalized', 'lstrip', 'rstrip', 'single_word'] as const;

export const corrupt = (what: string) => new PrlError('ERR_PRL_CORRUPT', `the tokenizer ${what}`);
export const unsupported = (what: string) =>
  new PrlError('ERR_PRL_UNSUPPORTED', `the tokenizer ${what}; its tokens here would differ from those in Python`);
export const isId = (value: unknown): value is number => isCount(value, MAX_ID - 1);

/** Half a character, which Python and UTF-8 cannot hold. */
export const LONE_SURROGATE = /\p{Surrogate}/u;

type Token = Omit<AddedToken, 'id'>;

/** A token as the files write it: its text, or an object with its flags. */
function tokenOf(value: unknown, where: string, special = typeof value === 'string'): Token {
  const given: Json = typeof value === 'string' ? { content: value } : isObject(value) ? value : {};
  const { content } = given;
  if (typeof content !== 'string' || LONE_SURROGATE.test(content) || FLAGS.some((flag) => !isFlag(given[flag])))
    throw corrupt(`has the added token ${quoted(value)} in ${where}`);
  const flag = (name: (typeof FLAGS)[number], otherwise = false) => (given[name] as boolean | null) ?? otherwise;
  const own = flag('special', special);
  const [lstrip, rstrip, single_word] = [flag('lstrip'), flag('rstrip'), flag('single_word')];
  return { content, special: own, normalized: flag('normalized', !own), lstrip, rstrip, single_word };
}
const isFlag = (value: unknown) => value === undefined || value === null || typeof value === 'boolean';

/**
 * The added tokens, the spelling of the special tokens that have a name, and the tokens that are `normalized` in one
 * file and not in another.
 *
 * @param vocabulary the ids of the model
 * @throws PrlError ERR_PRL_CORRUPT or ERR_PRL_UNSUPPORTED that names the token
 */
export function addedTokens(
  sources: TokenSources,
  vocabulary: ReadonlyMap<string, number>,
): { added: AddedToken[]; named: { [name: string]: string }; unsure: ReadonlySet<string> } {
  const { named, listed, extra } = namedTokens(sources);
  const names = new Map(named.map(([name, token]) => [name, token.content]));
  const contents = new Set(names.values());
  const added = new Added(vocabulary);
  const { added_tokens } = sources.tokenizer;
  if (added_tokens !== undefined && added_tokens !== null && !Array.isArray(added_tokens))
    throw corrupt('must have a list of added_tokens');
  for (const token of (added_tokens ?? []) as unknown[]) {
    const id = isObject(token) ? token.id : undefined;
    if (!isId(id)) throw corrupt(`has the added token ${quoted(token)} in tokenizer.json`);
    added.add(tokenOf(token, 'tokenizer.json', false), 'tokenizer.json', id);
  }
  for (const [id, { token, file }] of [...listed].sort(([a], [b]) => a - b))
    added.add({ ...token, special: token.special || contents.has(token.content) }, file, id);
  // A name adds its token only if no file has it with its flags. Of two names the later one decides the flags.
  const known = new Set(added.tokens.map(({ content }) => content));
  for (const token of [...named.map(([, token]) => token), ...extra])
    if (token.content !== '' && !known.has(token.content)) added.add(token, 'tokenizer_config.json');
  return { added: added.tokens, named: Object.fromEntries(names), unsure: added.unsure };
}

/** The tokens so far. Each is in the vocabulary, or takes the next free id. */
class Added {
  /** Tokens whose files contradict each other about `normalized`. */
  readonly unsure = new Set<string>();
  readonly #tokens = new Map<string, AddedToken>();
  readonly #vocabulary: ReadonlyMap<string, number>;
  readonly #owner: Map<number, string>;
  #last = -1;

  constructor(vocabulary: ReadonlyMap<string, number>) {
    this.#vocabulary = vocabulary;
    this.#owner = new Map(Array.from(vocabulary, ([token, id]) => [id, token]));
  }

  get tokens(): AddedToken[] {
    return [...this.#tokens.values()];
  }

  add(token: Token, file: string, declared?: number): void {
    const { content } = token;
    if (content === '') throw corrupt(`has an added token without text in ${file}`);
    const next = Math.max(this.#vocabulary.size, this.#last + 1);
    const id = this.#tokens.get(content)?.id ?? this.#vocabulary.get(content) ?? next;
    const known = this.#owner.get(id) ?? content;
    const taken = declared === undefined ? undefined : this.#owner.get(declared);
    if (declared !== undefined && ((taken ?? content) !== content || this.#vocabulary.has(content)) && declared !== id)
      throw corrupt(`adds ${quoted(content)} as ${declared} in ${file}, but its vocabulary has another id for it`);
    if (declared !== undefined && declared !== id)
      throw unsupported(`adds ${quoted(content)} as ${declared} in ${file}, where Python gives it the next id, ${id}`);
    if (known !== content)
      throw unsupported(`adds ${quoted(content)} in ${file} as ${id}, which is the id of ${quoted(known)}`);
    if ((this.#tokens.get(content) ?? token).normalized !== token.normalized) this.unsure.add(content);
    this.#owner.set(id, content);
    this.#last = Math.max(this.#last, id);
    this.#tokens.set(content, { ...token, id });
  }
}

interface Named {
  /** Tokens with a name, in the order in which they are added. */
  named: [name: string, Token][];
  /** Tokens that come with an id. */
  listed: Map<number, { token: Token; file: string }>;
  /** Special tokens without a name. */
  extra: Token[];
}

/** Reads what tokenizer_config.json, special_tokens_map.json and added_tokens.json say about tokens. */
function namedTokens({ tokenizer, config, specialTokensMap, addedTokens }: TokenSources): Named {
  const file = 'tokenizer_config.json';
  const values = new Map<string, unknown>(Object.entries(config));
  let extra = values.get('extra_special_tokens');
  /** The older name. It counts if the newer one is absent. */
  let additional = values.get('additional_special_tokens');
  if (additional !== undefined && isEmpty(extra)) extra = additional;
  const byName = new Map<string, Token>();
  const named = (of: unknown) => {
    for (const [name, value] of Object.entries(of as Json)) byName.set(name, tokenOf(value, file, true));
  };
  if (isObject(extra)) {
    named(extra);
    extra = undefined;
  }
  const listed: Named['listed'] = new Map();
  if (values.has('added_tokens_decoder')) {
    const decoder = values.get('added_tokens_decoder');
    if (!isObject(decoder)) throw corrupt(`must have an object as added_tokens_decoder in ${file}`);
    for (const [key, value] of Object.entries(decoder)) {
      const id = Number(key);
      if (!/^\d+$/.test(key) || !isId(id) || !isObject(value))
        throw corrupt(`has the added token ${quoted(value)} as ${quoted(key)} in ${file}`);
      listed.set(id, { token: tokenOf(value, file, false), file });
    }
  } else {
    // Without added_tokens_decoder, the older files count: the map replaces the names of tokenizer_config.json.
    const { extra_special_tokens: more, additional_special_tokens: also, ...names } = specialTokensMap ?? {};
    for (const [name, value] of Object.entries(names)) values.set(name, value);
    if (isObject(more)) named(more);
    else if (Array.isArray(more)) extra = [...tokenList(extra), ...more];
    for (const { token, id } of olderTokens(addedTokens, values, tokenList(extra)))
      listed.set(id, { token, file: 'added_tokens.json' });
    for (const token of Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : [])
      if (isObject(token) && isId(token.id))
        listed.set(token.id, { token: tokenOf(token, 'tokenizer.json', false), file: 'tokenizer.json' });
    additional = also ?? additional;
  }
  if (extra === undefined) extra = additional;
  // As Python does, a name of padding that only tokenizer.json has.
  const { padding } = tokenizer;
  if (!values.has('pad_token') && isObject(padding)) values.set('pad_token', padding.pad_token);
  const standard = NAMES.filter((name) => values.has(name));
  const own = [...values.keys()].filter((name) => name.endsWith('_token') && !NAMES.includes(name));
  const tokens = new Map<string, Token>();
  for (const name of [...standard, ...own]) {
    const value = values.get(name);
    if (typeof value === 'string' || (isObject(value) && 'content' in value))
      tokens.set(name, { ...tokenOf(value, file, true), special: true });
  }
  for (const [name, token] of byName) tokens.set(name, { ...token, special: true });
  const list = tokenList(extra).map((token) => tokenOf(token, file));
  return { named: [...tokens], listed, extra: list };
}

const isEmpty = (value: unknown) => !value || Object.keys(value).length === 0;

function tokenList(value: unknown): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw corrupt(`must have a list of extra special tokens, not ${quoted(value)}`);
  return value;
}

/** The tokens of added_tokens.json, which holds ids by token. A token is special if another file says so. */
function* olderTokens(
  addedTokens: Json | undefined,
  values: ReadonlyMap<string, unknown>,
  extra: readonly unknown[],
): Generator<{ token: Token; id: number }> {
  const content = (value: unknown) => (isObject(value) ? value.content : value);
  const special = new Set([...NAMES.map((name) => content(values.get(name))), ...extra.map(content)]);
  for (const [token, id] of Object.entries(addedTokens ?? {})) {
    if (!isId(id)) throw corrupt(`has the added token ${quoted(token)} as ${quoted(id)} in added_tokens.json`);
    yield { token: tokenOf({ content: token, special: special.has(token) }, 'added_tokens.json'), id };
  }
}
