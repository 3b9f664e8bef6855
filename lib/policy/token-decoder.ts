// Decodes token ids to text as the Python library does, and divides the text by token. (@huggingface/tokenizers differs
// where bytes stand for characters: it drops a U+FEFF, and returns other numbers of U+FFFD for invalid bytes.)
import { isUtf8 } from 'node:buffer';
import { PrlError } from '../base/errors.js';
import type { Json } from '../base/json.js';
import { quoted, shorten } from '../base/text.js';
import { BYTE_CHARACTERS } from './encoder.js';

/** Replaces bytes that are not a character. */
const INCOMPLETE = '\ufffd';

const BYTE_OF: ReadonlyMap<string, number> = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

/** The steps of a supported decoder. */
interface Steps {
  /** Tokens are bytes, each spelled as a character. */
  byteLevel: boolean;
  /** Tokens such as <0xE2> are bytes. */
  byteFallback: boolean;
  replace: [from: string, to: string][];
  /** Removed from the beginning of the text, once. */
  strip: string;
  /** Removed from the first token. */
  dropFirst: string;
}

/** A token's text, or its bytes if it holds a part of a character. */
type Piece = string | Uint8Array;

export class TokenDecoder {
  readonly #steps: Steps;
  readonly #token: (id: number) => string | undefined;
  readonly #special: ReadonlySet<number>;
  readonly #pieces: (Piece | undefined)[] = [];

  /** @param token the vocabulary's text for an id. An id that it lacks (padding of a model) has no text. */
  constructor(decoder: unknown, token: (id: number) => string | undefined, special: ReadonlySet<number>) {
    this.#steps = stepsOf(decoder);
    this.#token = token;
    this.#special = special;
  }

  /**
   * The text that each token adds to the text of the tokens before it; '' for special tokens if `skipSpecial`. The
   * parts of a character belong to the token that completes it. If nothing completes it, they belong to the token that
   * reveals this, or to the last one.
   */
  pieces(tokens: ArrayLike<number>, skipSpecial: boolean): string[] {
    const pieces = new Array<string>(tokens.length).fill('');
    const { byteLevel, dropFirst, strip } = this.#steps;
    const bytes = byteLevel ? new Stream(pieces) : new Run(pieces);
    let first = true;
    for (let t = 0; t < tokens.length; t++) {
      const id = tokens[t];
      const piece = skipSpecial && this.#special.has(id) ? undefined : this.#piece(id);
      if (piece === undefined) continue;
      if (typeof piece !== 'string') bytes.add(t, piece);
      else pieces[t] = bytes.end(t) + (first && dropFirst ? this.#token(id)!.replaceAll(dropFirst, '') : piece);
      first = false;
    }
    bytes.end();
    const begin = strip ? pieces.findIndex((piece) => piece !== '') : -1;
    if (begin >= 0 && pieces[begin].startsWith(strip)) pieces[begin] = pieces[begin].slice(strip.length);
    return pieces;
  }

  #piece(id: number): Piece | undefined {
    const known = this.#pieces[id];
    if (known !== undefined) return known;
    const token = this.#token(id);
    return token === undefined ? undefined : (this.#pieces[id] = this.#decode(token));
  }

  #decode(token: string): Piece {
    const { byteLevel, byteFallback, replace } = this.#steps;
    if (byteLevel) {
      const bytes = Array.from(token, (character) => BYTE_OF.get(character));
      if (bytes.includes(undefined)) return token; // an added token in plain text
      const content = Uint8Array.from(bytes as number[]);
      const text = UTF8.decode(content);
      return text.includes(INCOMPLETE) ? content : text;
    }
    const text = replace.reduce((text, [from, to]) => text.replaceAll(from, to), token);
    const byte = byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(text) : null;
    return byte ? Uint8Array.of(Number.parseInt(byte[1], 16)) : text;
  }
}

const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Byte-level: the text is all bytes in a row. Invalid bytes are replaced as soon as they are known to be invalid. */
class Stream {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #last = -1;
  constructor(readonly pieces: string[]) {}
  add(t: number, bytes: Uint8Array): void {
    this.pieces[t] = this.#decoder.decode(bytes, { stream: true });
    this.#last = t;
  }
  /** The text for bytes that nothing completes. It goes to the token that follows, or else to the last of them. */
  end(next?: number): string {
    if (this.#last < 0) return '';
    const broken = this.#decoder.decode();
    if (next === undefined) this.pieces[this.#last] += broken;
    this.#last = -1;
    return broken;
  }
}

/** Byte fallback: a run of bytes is text as a whole, or every byte of it is replaced. */
class Run {
  #at: number[] = [];
  #bytes: number[] = [];
  constructor(readonly pieces: string[]) {}
  add(t: number, [byte]: Uint8Array): void {
    this.#at.push(t);
    this.#bytes.push(byte);
  }
  end(_next?: number): string {
    if (this.#at.length > 0) {
      const valid = isUtf8(Uint8Array.from(this.#bytes));
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      this.#at.forEach((t, i) => {
        this.pieces[t] = valid ? decoder.decode(Uint8Array.of(this.#bytes[i]), { stream: true }) : INCOMPLETE;
      });
      [this.#at, this.#bytes] = [[], []];
    }
    return '';
  }
}

/** Reads the decoder of a tokenizer.json. Refuses anything not known to give the same text as in Python. */
function stepsOf(decoder: unknown): Steps {
  const steps: Steps = { byteLevel: false, byteFallback: false, replace: [], strip: '', dropFirst: '' };
  const json = (decoder ?? {}) as Json;
  if (json.type === 'ByteLevel') return { ...steps, byteLevel: true };
  if (json.type === 'Fuse') return steps;
  if (json.type === 'Metaspace') {
    const symbol = typeof json.replacement === 'string' ? json.replacement : '\u2581';
    const never = json.prepend_scheme === 'never' || json.add_prefix_space === false;
    return { ...steps, replace: [[symbol, ' ']], dropFirst: never ? '' : symbol };
  }
  const chain = json.type === 'Sequence' && Array.isArray(json.decoders) ? (json.decoders as Json[]) : [];
  const types = chain.map((step) => (typeof step?.type === 'string' ? step.type : '?')).join();
  if (!/^(Replace,)*(ByteFallback,)?Fuse(,Strip)?$/.test(types))
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      `the tokenizer decodes by ${json.type === 'Sequence' ? `[${shorten(types)}]` : quoted(json.type)}; ByteLevel, Metaspace, Fuse and [Replace, ByteFallback, Fuse, Strip] are supported`,
    );
  for (const step of chain) {
    if (step.type === 'ByteFallback') steps.byteFallback = true;
    if (step.type === 'Replace') {
      const from = (step.pattern as Json | undefined)?.String;
      if (typeof from !== 'string' || from === '' || typeof step.content !== 'string')
        throw new PrlError(
          'ERR_PRL_UNSUPPORTED',
          "the tokenizer's decoder replaces by a pattern; plain strings are supported",
        );
      steps.replace.push([from, step.content]);
    }
    if (step.type === 'Strip') {
      const { content, start, stop } = step;
      if (typeof content !== 'string' || !(start === 0 || start === 1) || stop !== 0)
        throw new PrlError(
          'ERR_PRL_UNSUPPORTED',
          "the tokenizer's decoder strips more than one character at the start",
        );
      steps.strip = start === 1 ? content : '';
    }
  }
  return steps;
}
