// Encodes text as the Python library does: added tokens first, then normalizer, pre-tokenizers, byte-pair encoding and
// the template. @huggingface/tokenizers translates the patterns and merges the pairs.
import * as library from '@huggingface/tokenizers';
import { isObject, type Json } from '../base/json.js';
import { quoted } from '../base/text.js';
import { type AddedToken, corrupt, isId, unsupported } from './added-tokens.js';

/** The parts of the library that are used. TypeScript does not find their types: its own imports lack extensions. */
const { BPE, SplitPreTokenizer } = library as unknown as {
  BPE: new (model: Json) => { tokens_to_ids: Map<string, number>; bpe(piece: string): string[] };
  SplitPreTokenizer: new (part: Json) => { pre_tokenize_text(text: string): string[] };
};

/** Depth of nested sequences. Real ones have one level. */
const MAX_DEPTH = 8;

type Normalizer = (text: string) => string;
/** Splits the pieces of a text further. `first`: they begin the whole text. */
type PreTokenizer = (pieces: string[], first: boolean) => string[];

/** @internal Text to token ids. */
export class Encoder {
  readonly #normalizers: Normalizer[];
  readonly #preTokenizers: PreTokenizer[];
  readonly #template: { before: number[]; after: number[] };
  readonly #model: Model;
  /** Tokens that are looked for before normalization, and after it. */
  readonly #plain: Dictionary;
  readonly #normalized: Dictionary;

  /** @param splitSpecial special tokens are spelled out like other text */
  constructor(json: Json, added: readonly AddedToken[], splitSpecial: boolean) {
    const normalizers = [...parts(json.normalizer, 'normalizers')];
    const preTokenizers = [...parts(json.pre_tokenizer, 'pretokenizers')];
    checkFirst(normalizers, preTokenizers);
    this.#normalizers = normalizers.map(normalizerOf);
    this.#preTokenizers = preTokenizers.map(preTokenizerOf);
    this.#template = templateOf([...parts(json.post_processor, 'processors')]);
    this.#model = new Model(json.model as Json);
    const dictionary = (normalized: boolean) => {
      const tokens = added.filter((token) => token.normalized === normalized);
      const special = [...tokens.filter((token) => token.special), ...tokens.filter((token) => !token.special)];
      return new Dictionary(special, (token) => this.textOf(token), splitSpecial);
    };
    this.#plain = dictionary(false);
    this.#normalized = dictionary(true);
  }

  /** The text of an added token. As in Python, that of a normalized token is its normalized content. */
  textOf({ content, normalized }: AddedToken): string {
    return normalized ? this.normalize(content) : content;
  }

  normalize(text: string): string {
    return this.#normalizers.reduce((text, normalize) => normalize(text), text);
  }

  /** @param special with the tokens of the template */
  encode(text: string, special: boolean): number[] {
    const ids: number[] = special ? [...this.#template.before] : [];
    this.#plain.split(text, ids, (section, start) => {
      let first = start === 0;
      this.#normalized.split(this.normalize(section), ids, (part, at) => {
        first &&= at === 0;
        const pieces = this.#preTokenizers.reduce((list, split) => split(list, first), [part]);
        for (const piece of pieces) this.#model.encode(piece, ids);
      });
    });
    if (special) ids.push(...this.#template.after);
    return ids;
  }
}

/** White space is one UTF-16 unit. */
const SPACE = /\p{White_Space}/u;
const WORD = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;
const WORD_BEFORE = new RegExp(`${WORD}$`, 'u');
const WORD_AFTER = new RegExp(`^${WORD}`, 'u');

interface Node {
  token?: AddedToken;
  readonly next: Map<string, Node>;
}

/** Finds added tokens in a text, from left to right, the longest first. */
class Dictionary {
  readonly #root: Node = { next: new Map() };
  readonly #splitSpecial: boolean;

  constructor(tokens: readonly AddedToken[], textOf: (token: AddedToken) => string, splitSpecial: boolean) {
    this.#splitSpecial = splitSpecial;
    for (const token of tokens) {
      const content = textOf(token);
      if (content === '') throw unsupported(`normalizes the added token ${quoted(token.content)} to nothing`);
      let node = this.#root;
      for (let i = 0; i < content.length; i++) {
        let next = node.next.get(content[i]);
        if (!next) node.next.set(content[i], (next = { next: new Map() }));
        node = next;
      }
      node.token ??= token;
    }
  }

  /** Pushes the ids of the tokens that are found, and calls `rest` with the text between them and its position. */
  split(text: string, ids: number[], rest: (text: string, start: number) => void): void {
    let done = 0;
    for (let at = 0; at < text.length; ) {
      const [token, length] = this.#match(text, at);
      if (!token) {
        at++;
        continue;
      }
      let [start, end] = [at, at + length];
      at = end;
      if (this.#splitSpecial && token.special) continue;
      const [before, after] = [text.slice(Math.max(0, start - 2), start), text.slice(end, end + 2)];
      if (token.single_word && (WORD_BEFORE.test(before) || WORD_AFTER.test(after))) continue;
      if (token.lstrip) while (start > done && SPACE.test(text[start - 1])) start--;
      if (token.rstrip) while (end < text.length && SPACE.test(text[end])) end++;
      if (done < start) rest(text.slice(done, start), done);
      ids.push(token.id);
      done = end;
    }
    if (done < text.length) rest(text.slice(done), done);
  }

  #match(text: string, at: number): [token: AddedToken | undefined, length: number] {
    let [found, length]: [AddedToken | undefined, number] = [undefined, 0];
    let node: Node | undefined = this.#root;
    for (let i = at; i < text.length; ) {
      node = node.next.get(text[i++]);
      if (!node) break;
      if (node.token) [found, length] = [node.token, i - at];
    }
    return [found, length];
  }
}

/** Byte-pair encoding of a piece. */
class Model {
  readonly #bpe: InstanceType<typeof BPE>;
  readonly #ids: Map<string, number>;
  readonly #bytes: number[] | undefined;
  readonly #unknown: number | undefined;
  readonly #fuse: boolean;
  readonly #ignoreMerges: boolean;

  /** @param model as checkVocabulary has checked it */
  constructor(model: Json) {
    try {
      this.#bpe = new BPE(model);
    } catch (cause) {
      throw corrupt(`cannot be built: ${(cause as Error).message}`);
    }
    this.#ids = this.#bpe.tokens_to_ids;
    this.#bytes = model.byte_fallback === true ? BYTES.map((token) => this.#ids.get(token)!) : undefined;
    this.#unknown = typeof model.unk_token === 'string' ? this.#ids.get(model.unk_token) : undefined;
    this.#fuse = model.fuse_unk === true;
    this.#ignoreMerges = model.ignore_merges === true;
  }

  encode(piece: string, ids: number[]): void {
    const whole = this.#ignoreMerges ? this.#ids.get(piece) : undefined;
    if (whole !== undefined) {
      ids.push(whole);
      return;
    }
    let unknown = false;
    for (const token of this.#bpe.bpe(piece)) {
      const id = this.#ids.get(token);
      if (id !== undefined) ids.push(id);
      else if (this.#bytes) for (const byte of Buffer.from(token)) ids.push(this.#bytes[byte]);
      else if (this.#unknown !== undefined && !(this.#fuse && unknown)) ids.push(this.#unknown);
      unknown = id === undefined;
    }
  }
}

/** The tokens of byte fallback. */
export const BYTES = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);

/** The parts of a component that may be a sequence of parts. */
function* parts(component: unknown, list: string, depth = 0): Generator<Json> {
  if (component === null || component === undefined) return;
  if (!isObject(component)) throw corrupt(`has ${quoted(component)} among its ${list}`);
  if (depth > MAX_DEPTH) throw corrupt(`nests its ${list} more than ${MAX_DEPTH} levels deep`);
  if (component.type !== 'Sequence') return yield component;
  if (!Array.isArray(component[list])) throw corrupt(`has a sequence without ${list}`);
  for (const part of component[list]) yield* parts(part, list, depth + 1);
}

function normalizerOf({ type, pattern, content, prepend }: Json): Normalizer {
  if (type === 'NFC' || type === 'NFD' || type === 'NFKC' || type === 'NFKD') return (text) => text.normalize(type);
  if (type === 'Prepend' && typeof prepend === 'string') return (text) => (text === '' ? '' : prepend + text);
  const from = isObject(pattern) ? pattern.String : undefined;
  if (type === 'Replace' && typeof from === 'string' && from !== '' && typeof content === 'string')
    return (text) => text.replaceAll(from, () => content);
  throw unsupported(
    `normalizes with ${quoted(type)}${type === 'Replace' ? ` of ${quoted(pattern)} by ${quoted(content)}` : ''}`,
  );
}

/** The pattern by which GPT-2 splits text. */
const WORDS = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

function splitBy(pattern: { Regex: string } | { String: string }): PreTokenizer {
  try {
    const split = new SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated', invert: false });
    return (pieces) => pieces.flatMap((piece) => split.pre_tokenize_text(piece));
  } catch (cause) {
    throw corrupt(`cannot be built: ${(cause as Error).message}`);
  }
}

/** GPT-2's spelling of bytes: a visible character for every byte. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  const shown = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  let hidden = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(shown(byte) ? byte : 256 + hidden++));
})();

function spellBytes(text: string): string {
  let spelled = '';
  for (const byte of Buffer.from(text)) spelled += BYTE_CHARACTERS[byte];
  return spelled;
}

function preTokenizerOf(part: Json): PreTokenizer {
  const { type, pattern, behavior, invert } = part;
  if (type === 'Split') {
    if (behavior !== 'Isolated' || invert === true)
      throw unsupported(`splits text with behavior ${quoted(behavior)}${invert === true ? ', inverted' : ''}`);
    const [[kind, source] = []] = isObject(pattern) ? Object.entries(pattern) : [];
    if ((kind !== 'Regex' && kind !== 'String') || typeof source !== 'string' || source === '')
      throw corrupt(`splits text by the pattern ${quoted(pattern)}`);
    return splitBy({ [kind]: source } as { Regex: string });
  }
  if (type === 'ByteLevel') {
    const words = part.use_regex === false ? undefined : splitBy({ Regex: WORDS });
    const prefix = part.add_prefix_space === true;
    return (pieces, first) => {
      const spaced = prefix ? pieces.map((piece) => (piece.startsWith(' ') ? piece : ` ${piece}`)) : pieces;
      return (words ? words(spaced, first) : spaced).map(spellBytes);
    };
  }
  if (type === 'Digits') return splitBy({ Regex: part.individual_digits === true ? '\\p{N}' : '\\p{N}+' });
  if (type === 'Metaspace') return metaspace(part);
  throw unsupported(`splits text with ${quoted(type)}`);
}

/** The option's older name is add_prefix_space. */
const prependScheme = ({ prepend_scheme, add_prefix_space }: Json): unknown =>
  prepend_scheme ?? (add_prefix_space === false ? 'never' : 'always');

function metaspace(part: Json): PreTokenizer {
  const symbol = part.replacement ?? '\u2581';
  const scheme = prependScheme(part);
  if (typeof symbol !== 'string' || [...symbol].length !== 1) throw corrupt(`writes ${quoted(symbol)} for a space`);
  if (
    !['always', 'first', 'never'].includes(scheme as string) ||
    (part.add_prefix_space === false && scheme !== 'never')
  )
    throw corrupt(`has the prepend_scheme ${quoted(scheme)}`);
  return (pieces, first) =>
    pieces.flatMap((piece, i) => {
      const spelled = piece.replaceAll(' ', symbol);
      const prepend = scheme === 'always' || (scheme === 'first' && first && i === 0);
      const text = prepend && !spelled.startsWith(symbol) ? symbol + spelled : spelled;
      if (part.split === false) return [text];
      // A symbol begins a piece.
      const [before, ...rest] = text.split(symbol);
      return [...(before === '' ? [] : [before]), ...rest.map((each) => symbol + each)];
    });
}

/**
 * 'first' means the piece that begins the original text. That is the first piece, unless something before it inserts or
 * deletes characters.
 */
function checkFirst(normalizers: readonly Json[], preTokenizers: readonly Json[]): void {
  const at = preTokenizers.findLastIndex((part) => part.type === 'Metaspace' && prependScheme(part) === 'first');
  if (at < 0) return;
  const before = preTokenizers.slice(0, at);
  const inserts = before.find(
    (part) => part.type === 'Metaspace' || (part.type === 'ByteLevel' && part.add_prefix_space === true),
  );
  const changes = normalizers.find((part) => before.length > 0 || part.content === '');
  const cause = inserts ?? changes;
  if (cause) throw unsupported(`splits text with Metaspace (prepend_scheme first) after ${quoted(cause.type)}`);
}

/** The ids that the template puts before and after a text. */
function templateOf(processors: readonly Json[]): { before: number[]; after: number[] } {
  const template = { before: [] as number[], after: [] as number[] };
  let found = false;
  for (const { type, single, special_tokens } of processors) {
    if (type === 'ByteLevel') continue;
    if (type !== 'TemplateProcessing') throw unsupported(`puts tokens around a text with ${quoted(type)}`);
    if (found) throw unsupported('puts tokens around a text with two templates');
    if (!Array.isArray(single) || !single.every(isObject)) throw corrupt('must have a list as its template');
    for (const { SpecialToken, Sequence } of single) {
      if (isObject(Sequence)) {
        if (found || Sequence.id !== 'A') throw corrupt('must have one text, A, in its template');
        found = true;
        continue;
      }
      const id = isObject(SpecialToken) ? SpecialToken.id : undefined;
      const ids =
        typeof id === 'string' && isObject(special_tokens) && Object.hasOwn(special_tokens, id)
          ? (special_tokens[id] as Json | null)?.ids
          : undefined;
      if (!Array.isArray(ids) || ids.length === 0 || !ids.every(isId))
        throw corrupt(`puts ${quoted(id)} around a text, but its template gives no ids for it`);
      template[found ? 'after' : 'before'].push(...ids);
    }
    if (!found) throw corrupt('must have one text, A, in its template');
  }
  return template;
}
