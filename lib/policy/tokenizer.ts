import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withinDeadline } from '../base/deadline.js';
import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { type Json, MAX_LARGE_BYTES, readOptionalJson, readText } from '../base/json.js';
import { checkBoolean, checkOptions, checkString, describe } from '../base/options.js';
import { quoted } from '../base/text.js';
import { resolveTokenizer } from '../hub/resolve.js';
import { addedTokens, LONE_SURROGATE, unsupported } from './added-tokens.js';
import { tokenList } from './batch.js';
import { type ChatMessage, type ChatOptions, ChatTemplates } from './chat-template.js';
import { clockTime, PROCESS_CLOCK } from './clock.js';
import { Encoder } from './encoder.js';
import { TokenDecoder } from './token-decoder.js';
import { readModel } from './tokenizer-json.js';

/** Milliseconds to encode a text, plus one per 10 characters: about 40 times the usual time. */
const DEADLINE = 1000;

/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /** Add the tokens of the tokenizer's template, such as a begin-of-text token. Default false. */
  addSpecialTokens?: boolean | undefined;
}

/** Options of {@link Tokenizer.decode}. */
export interface DecodeOptions {
  /** Leave special tokens out of the text. Default true. */
  skipSpecialTokens?: boolean | undefined;
}

/** The files of a tokenizer. */
export interface TokenizerFiles {
  /** tokenizer.json */
  tokenizer: Json;
  /** tokenizer_config.json */
  config: Json;
  /** special_tokens_map.json. It counts only if tokenizer_config.json has no added_tokens_decoder. */
  specialTokensMap?: Json;
  /** added_tokens.json. It counts only if tokenizer_config.json has no added_tokens_decoder. */
  addedTokens?: Json;
  /** generation_config.json */
  generation?: Json;
  /** chat_template.jinja, or the contents of chat_template.json. It replaces that of tokenizer_config.json. */
  chatTemplate?: unknown;
}

/**
 * Converts text to token ids and back. It reads tokenizer.json in Hugging Face's format and gives the ids and texts of
 * the Python library.
 */
export class Tokenizer {
  /** Id of the end-of-sequence token. */
  readonly eosTokenId: number;
  /** Spelling of the end-of-sequence token. */
  readonly eosToken: string;
  /** Ids of the tokens that end a response: those of generation_config.json, and the end-of-sequence token. */
  readonly stopTokenIds: readonly number[];
  /** Number of tokens in this tokenizer. A model may have more rows, which stand for nothing. */
  readonly vocabSize: number;
  readonly #files: TokenizerFiles;
  readonly #ids: Map<string, number>;
  readonly #encoder: Encoder;
  readonly #decoder: TokenDecoder;
  readonly #exact: boolean;
  readonly #chat: ChatTemplates;
  #clock = PROCESS_CLOCK;

  constructor(json: Json, config: Json, files: Omit<TokenizerFiles, 'tokenizer' | 'config'> = {}) {
    this.#files = { tokenizer: json, config, ...files };
    const model = readModel(json);
    const vocabulary = new Map(model.ids);
    checkConfig(config);
    const { added, named, unsure } = addedTokens(this.#files, vocabulary);
    this.#encoder = new Encoder(json, model, added, config.split_special_tokens === true);
    const tokens = new Map(Array.from(vocabulary, ([token, id]) => [id, token]));
    for (const token of added) {
      if (unsure.has(token.content) && this.#encoder.normalize(token.content) !== token.content)
        throw unsupported(`has ${quoted(token.content)} as normalized in one file and not in another`);
      vocabulary.set(token.content, token.id);
      tokens.set(token.id, this.#encoder.textOf(token));
    }
    this.#ids = vocabulary;
    this.vocabSize = tokens.size;
    const contents = new Set(added.filter((token) => token.special).map(({ content }) => content));
    const special = new Set(added.filter(({ id }) => contents.has(tokens.get(id)!)).map(({ id }) => id));
    this.#decoder = new TokenDecoder(json.decoder, (id) => tokens.get(id), special);
    // If nothing stands between text and model, decoding must give the text back.
    this.#exact = json.normalizer == null && json.pre_tokenizer == null && json.post_processor == null;
    const stop = stopTokens(files.generation, tokens);
    this.eosToken = named.eos_token ?? tokens.get(stop[0]) ?? '';
    const eos = vocabulary.get(this.eosToken);
    if (eos === undefined)
      throw new PrlError('ERR_PRL_CORRUPT', `the tokenizer has no end-of-sequence token (${quoted(this.eosToken)})`);
    this.eosTokenId = eos;
    this.stopTokenIds = [...new Set([...stop, eos])];
    this.#chat = new ChatTemplates(files.chatTemplate ?? config.chat_template, named);
  }

  /**
   * Reads the tokenizer of a model: a folder, or an id of the hub. It reads tokenizer.json and, if present,
   * tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json (else config.json) and
   * chat_template.jinja or .json.
   *
   * @throws PrlError ERR_PRL_CORRUPT or ERR_PRL_IO for a file that cannot be used, ERR_PRL_UNSUPPORTED with the reason
   *   for a tokenizer that cannot encode as Python does, or an error of the hub, as downloadFiles
   */
  static async load(idOrFolder: string): Promise<Tokenizer> {
    const folder = await resolveTokenizer(idOrFolder);
    const json = await readOptionalJson(join(folder, 'tokenizer.json'), { large: true });
    if (!json)
      throw new PrlError(
        'ERR_PRL_IO',
        `cannot read the tokenizer ${join(folder, 'tokenizer.json')}: there is no such file`,
      );
    const optional = (name: string) => readOptionalJson(join(folder, name));
    const config = (await optional('tokenizer_config.json')) ?? {};
    const [specialTokensMap, addedTokens] = [
      await optional('special_tokens_map.json'),
      await readOptionalJson(join(folder, 'added_tokens.json'), { large: true }),
    ];
    const generation = (await optional('generation_config.json')) ?? pickEos(await optional('config.json'));
    const jinja = join(folder, 'chat_template.jinja');
    const chatTemplate = existsSync(jinja)
      ? await readText(jinja, MAX_LARGE_BYTES)
      : (await optional('chat_template.json'))?.chat_template;
    return new Tokenizer(json, config, { specialTokensMap, addedTokens, generation, chatTemplate });
  }

  /** Writes the files that `load` reads. */
  async save(folder: string): Promise<void> {
    const { tokenizer, config, specialTokensMap, addedTokens, generation, chatTemplate } = this.#files;
    const write = (name: string, value: unknown) =>
      writeFile(join(folder, name), `${JSON.stringify(value, null, 1)}\n`);
    await write('tokenizer.json', tokenizer);
    await write('tokenizer_config.json', config);
    if (specialTokensMap !== undefined) await write('special_tokens_map.json', specialTokensMap);
    if (addedTokens !== undefined) await write('added_tokens.json', addedTokens);
    if (generation !== undefined) await write('generation_config.json', generation);
    if (typeof chatTemplate === 'string') await writeFile(join(folder, 'chat_template.jinja'), chatTemplate);
    else if (chatTemplate !== undefined) await write('chat_template.json', { chat_template: chatTemplate });
  }

  /** The id of a token, by its exact spelling in the vocabulary. undefined: there is no such token. */
  tokenId(token: string): number | undefined {
    return this.#ids.get(checkString('token', token));
  }

  /**
   * Token ids of `text`. With `addSpecialTokens` (default false) they include those of the tokenizer's template, such
   * as a begin-of-text token.
   *
   * @throws RangeError for a character that neither the vocabulary nor its bytes can spell, and for a lone surrogate;
   *   PrlError ERR_PRL_TIMEOUT when the model's patterns take too long
   */
  encode(text: string, options: EncodeOptions = {}): Int32Array {
    options = checkOptions('encode', options, ['addSpecialTokens']);
    if (LONE_SURROGATE.test(checkString('text', text)))
      throw outOfRange(`the text ${quoted(text)} holds half a character`);
    const ids = this.#idsOf(text, checkBoolean('addSpecialTokens', options.addSpecialTokens ?? false));
    if (this.#exact && this.#decoder.pieces(ids, false).join('') !== text) {
      const unknown = [...text].find((character) => !this.#ids.has(character));
      throw outOfRange(
        `the text ${quoted(text)} holds ${JSON.stringify(unknown)}, which the model's vocabulary cannot spell`,
      );
    }
    return new Int32Array(ids);
  }

  #idsOf(text: string, special: boolean): number[] {
    const encode = () => this.#encoder.encode(text, special);
    // The patterns that split the text come with the model, and may never end. A watched call costs 0.1 ms.
    if (this.#encoder.isQuick(text)) return encode();
    const what = `encoding ${text.length} characters with the tokenizer's patterns`;
    try {
      return withinDeadline(DEADLINE + Math.ceil(text.length / 10), what, encode);
    } catch (cause) {
      if (cause instanceof PrlError) throw cause;
      throw new PrlError('ERR_PRL_CORRUPT', `the tokenizer cannot encode: ${(cause as Error).message}`, { cause });
    }
  }

  /**
   * The text of `tokens`, as it was sampled: spaces before punctuation stay. Special tokens are left out, unless
   * `skipSpecialTokens` is false.
   */
  decode(tokens: ArrayLike<number>, options: DecodeOptions = {}): string {
    options = checkOptions('decode', options, ['skipSpecialTokens']);
    const skip = checkBoolean('skipSpecialTokens', options.skipSpecialTokens ?? true);
    return this.#decoder.pieces(tokenList('tokens', tokens), skip).join('');
  }

  /**
   * The text that each token adds to the text of `tokens`; '' for special tokens. A character that several tokens spell
   * belongs to the token that completes it.
   */
  pieces(tokens: ArrayLike<number>): string[] {
    return this.#decoder.pieces(tokenList('tokens', tokens), true);
  }

  /**
   * The local time that chat templates tell with strftime_now, such as those of Llama 3.2. Default: when this process
   * started, so that equal conversations give equal prompts. Set it to a date such as '2026-07-26', or to a date and
   * time. A resumed run sets it to the clock of its first start.
   */
  get clock(): string {
    return this.#clock;
  }
  set clock(text: string) {
    clockTime('clock', text);
    this.#clock = text;
  }

  /** Whether a chat template of the model may tell the date. */
  get readsClock(): boolean {
    return this.#chat.readsClock;
  }

  /** Whether the model has a chat template. */
  get hasChatTemplate(): boolean {
    return this.#chat.names.length > 0;
  }

  /**
   * The text of a conversation, in the model's own format.
   *
   * @throws PrlError ERR_PRL_TEMPLATE for a template that cannot be read or raises an error, ERR_PRL_TIMEOUT after one
   *   second
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    return this.#chat.render(messages, options, this.#clock);
  }

  /** Token ids of a conversation. The template contains the special tokens; no others are added. */
  encodeChat(messages: readonly ChatMessage[], options: ChatOptions = {}): Int32Array {
    return this.encode(this.applyChatTemplate(messages, options));
  }
}

/** Checks a tokenizer that a caller passes. */
export function checkTokenizer(tokenizer: unknown): Tokenizer {
  const { encode, decode } = (tokenizer ?? {}) as Partial<Tokenizer>;
  if (typeof encode === 'function' && typeof decode === 'function') return tokenizer as Tokenizer;
  throw invalidArgument(`tokenizer must be a Tokenizer, as Tokenizer.load returns it, not ${describe(tokenizer)}`);
}

const pickEos = (config: Json | undefined): Json | undefined =>
  config?.eos_token_id == null ? undefined : { eos_token_id: config.eos_token_id };

const CLEAN_UP = 'clean_up_tokenization_spaces';
const FORCE_CLEAN_UP = `${CLEAN_UP}_for_bpe_even_though_it_will_corrupt_output`;

/** Refuses what would decode other than Python. */
function checkConfig(config: Json): void {
  if (config[CLEAN_UP] === true && config[FORCE_CLEAN_UP] === true)
    throw new PrlError('ERR_PRL_UNSUPPORTED', `the tokenizer has ${FORCE_CLEAN_UP}: spaces are never removed here`);
}

function stopTokens(generation: Json | undefined, tokens: Map<number, string>): number[] {
  const ids = generation?.eos_token_id ?? [];
  const list: unknown[] = Array.isArray(ids) ? ids : [ids];
  for (const id of list)
    if (!tokens.has(id as number))
      throw new PrlError(
        'ERR_PRL_CORRUPT',
        `generation_config.json has the eos_token_id ${quoted(id)}, which the tokenizer does not know`,
      );
  return list as number[];
}

/** Makes a tokenizer with one token per character of `alphabet`, after `<pad>` (0) and `<eos>` (1). */
export function characterTokenizer(alphabet: string): Tokenizer {
  const symbols = ['<pad>', '<eos>', ...checkString('alphabet', alphabet)];
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: symbols.slice(0, 2).map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Fuse' },
    // Byte-pair encoding without merges: every character stays by itself.
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(symbols.map((symbol, id) => [symbol, id])),
      merges: [],
    },
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    eos_token: '<eos>',
    pad_token: '<pad>',
    clean_up_tokenization_spaces: false,
    model_max_length: 2048,
  };
  return new Tokenizer(json, config);
}
