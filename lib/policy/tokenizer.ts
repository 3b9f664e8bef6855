import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { outOfRange, PrlError } from '../errors.js';
import { resolveTokenizer } from '../hub/resolve.js';

type Json = { [key: string]: unknown };

/** Text to token ids and back: a tokenizer.json in Hugging Face's format. */
export class Tokenizer {
  /** The end-of-sequence token of tokenizer_config.json. */
  readonly eosTokenId: number;
  readonly eosToken: string;
  readonly #inner: HuggingFaceTokenizer;
  readonly #json: Json;
  readonly #config: Json;
  readonly #exact: boolean;
  /** A token's text does not depend on its neighbours, but for characters in several tokens. */
  readonly #independent: boolean;
  readonly #pieces = new Map<number, string>();

  constructor(json: Json, config: Json) {
    this.#json = json;
    this.#config = config;
    this.#inner = new HuggingFaceTokenizer(json, config);
    const eos = config.eos_token as string | { content: string } | undefined;
    this.eosToken = (typeof eos === 'object' ? eos.content : eos) ?? '';
    const id = this.#inner.token_to_id(this.eosToken);
    if (id === undefined)
      throw new PrlError('ERR_PRL_CORRUPT', `the tokenizer has no end-of-sequence token ('${this.eosToken}')`);
    this.eosTokenId = id;
    // With nothing between text and model, decoding must give the text back.
    this.#exact = json.normalizer == null && json.pre_tokenizer == null;
    this.#independent = ['Fuse', 'ByteLevel'].includes((json.decoder as Json | null)?.type as string);
  }

  /** Reads tokenizer.json and tokenizer_config.json of a model: a folder, or an id of the hub. */
  static async load(idOrFolder: string): Promise<Tokenizer> {
    const folder = await resolveTokenizer(idOrFolder);
    const read = async (name: string) => {
      const file = join(folder, name);
      try {
        return JSON.parse(await readFile(file, 'utf8')) as Json;
      } catch (cause) {
        throw new PrlError('ERR_PRL_IO', `cannot read the tokenizer ${file}: ${(cause as Error).message}`, { cause });
      }
    };
    return new Tokenizer(await read('tokenizer.json'), await read('tokenizer_config.json'));
  }

  async save(folder: string): Promise<void> {
    await writeFile(join(folder, 'tokenizer.json'), `${JSON.stringify(this.#json, null, 1)}\n`);
    await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(this.#config, null, 1)}\n`);
  }

  get vocabSize(): number {
    return this.#inner.get_vocab(true).size;
  }

  /** Token ids of `text`, without special tokens around it. A character that the vocabulary lacks is an error. */
  encode(text: string): Int32Array {
    const { ids } = this.#inner.encode(text, { add_special_tokens: false });
    if (this.#exact && (ids.length === 0 ? '' : this.#inner.decode(ids)) !== text) {
      const known = this.#inner.get_vocab(true);
      const unknown = [...text].find((character) => !known.has(character));
      throw outOfRange(
        `the text ${JSON.stringify(text)} holds ${JSON.stringify(unknown)}, which is no symbol of this model`,
      );
    }
    return Int32Array.from(ids);
  }

  /** The text of `tokens`; special tokens (end of sequence, padding) are left out. */
  decode(tokens: ArrayLike<number>): string {
    // The library refuses an empty list.
    return tokens.length === 0 ? '' : this.#inner.decode(Array.from(tokens), { skip_special_tokens: true });
  }

  /**
   * The text that each token adds to the text of `tokens`; '' for special tokens. A byte-level token may hold a part of a
   * character: the character belongs to the token that completes it.
   */
  pieces(tokens: ArrayLike<number>): string[] {
    const pieces = new Array<string>(tokens.length).fill('');
    // What tokens begin .. told - 1 add is known; they are decoded again before what follows, on which they may bear.
    let [begin, told] = [0, 0];
    for (let t = 0; t < tokens.length; t++) {
      const own = this.#piece(tokens[t]);
      if (this.#independent && told === t && !own.includes(INCOMPLETE)) {
        pieces[t] = own;
        begin = t;
      } else {
        const text = this.#raw(tokens, begin, t + 1);
        if (text.endsWith(INCOMPLETE) && t + 1 < tokens.length && t - told < LONGEST_CHARACTER) continue;
        pieces[t] = text.slice(this.#raw(tokens, begin, told).length);
        begin = told;
      }
      told = t + 1;
    }
    return pieces;
  }

  #piece(token: number): string {
    let piece = this.#pieces.get(token);
    if (piece === undefined) this.#pieces.set(token, (piece = this.#raw([token], 0, 1)));
    return piece;
  }

  /** The text of some of `tokens` as it was sampled: spaces before punctuation stay. */
  #raw(tokens: ArrayLike<number>, from: number, to: number): string {
    if (from === to) return '';
    const options = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
    return this.#inner.decode(Array.prototype.slice.call(tokens, from, to), options);
  }
}

/** What a decoder puts in the place of bytes that are no character, or not one yet. */
const INCOMPLETE = '\ufffd';
/** Tokens that are waited for until a character is complete: more than a character has bytes, as one token may end it and begin the next. */
const LONGEST_CHARACTER = 16;

/** A tokenizer with one token per character of `alphabet`, after `<pad>` (0) and `<eos>` (1). */
export function characterTokenizer(alphabet: string): Tokenizer {
  const symbols = ['<pad>', '<eos>', ...alphabet];
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
