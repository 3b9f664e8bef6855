// Encodes text as the Python library does: added tokens first, then normalizer, pre-tokenizers, byte-pair encoding and
// the template.
import { isObject, type Json } from '../base/json.js';
import { quoted } from '../base/text.js';
import { type AddedToken, corrupt, isId, unsupported } from './added-tokens.js';
import { type BytePairs, PieceEncoder } from './byte-pairs.js';
import { type PatternJson, patternOf, safeLength, splitBy } from './patterns.js';

/** Depth of nested sequences. Real ones have one level. */
const MAX_DEPTH = 8;

type Normalizer = (text: string) => string;
/** Splits the pieces of a text further. `first`: they begin the whole text. */
type PreTokenizer = (pieces: string[], first: boolean) => string[];
/** A pre-tokenizer that is a pattern. */
const byPattern = (pattern: RegExp) =>
  Object.assign((pieces: string[]) => pieces.flatMap((piece) => splitBy(pattern, piece)), { pattern });

/** @internal Text to token ids. */
export class Encoder {
  readonly #normalizers: Normalizer[];
  readonly #preTokenizers: PreTokenizer[];
  readonly #template: { before: number[]; after: number[] };
  readonly #pieces: PieceEncoder;
  readonly #safeLength: number;
  /** Tokens that are looked for before normalization, and after it. */
  readonly #plain: Dictionary;
  readonly #normalized: Dictionary;

  /** @param splitSpecial special tokens are spelled out like other text */
  constructor(json: Json, model: BytePairs, added: readonly AddedToken[], splitSpecial: boolean) {
    const normalizers = [...parts(json.normalizer, 'normalizers')];
    const preTokenizers = [...parts(json.pre_tokenizer, 'pretokenizers')];
    checkFirst(normalizers, preTokenizers);
    this.#normalizers = normalizers.map(normalizerOf);
    const split = preTokenizers.flatMap(preTokenizerOf);
    const patterns = split.flatMap((each) => ('pattern' in each ? [each.pattern as RegExp] : []));
    // A normalizer of its own may make any text long.
    const longer = normalizers.some(({ type }) => type === 'Prepend' || type === 'Replace');
    this.#safeLength = patterns.length === 0 ? Infinity : longer ? 0 : safeLength(patterns);
    const words = wordSplitter(json.model as Json, model);
    if (words) split.push(words);
    // Pieces that are remembered need no spelling.
    const spelled = split.at(-1) === spellAll;
    this.#preTokenizers = spelled ? split.slice(0, -1) : split;
    this.#template = templateOf([...parts(json.post_processor, 'processors')]);
    this.#pieces = new PieceEncoder(json.model as Json, model, spelled ? spellBytes : (piece) => piece);
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

  /** Whether the patterns surely split this text before any deadline. */
  isQuick(text: string): boolean {
    return this.#safeLength === Infinity || this.normalize(text).length <= this.#safeLength;
  }

  /** @param special with the tokens of the template */
  encode(text: string, special: boolean): number[] {
    const ids: number[] = special ? [...this.#template.before] : [];
    this.#plain.split(text, ids, (section, start) => {
      let first = start === 0;
      this.#normalized.split(this.normalize(section), ids, (part, at) => {
        first &&= at === 0;
        const pieces = this.#preTokenizers.reduce((list, split) => split(list, first), [part]);
        for (const piece of pieces) this.#pieces.encode(piece, ids);
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
  /** The UTF-16 units with which tokens begin. */
  readonly #begin: RegExp;
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
    const units = [...this.#root.next.keys()].map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
    this.#begin = new RegExp(`[${units.join('')}]`, 'g');
  }

  /** Pushes the ids of the tokens that are found, and calls `rest` with the text between them and its position. */
  split(text: string, ids: number[], rest: (text: string, start: number) => void): void {
    let done = 0;
    this.#begin.lastIndex = 0;
    while (this.#begin.test(text)) {
      let start = this.#begin.lastIndex - 1;
      const [token, length] = this.#match(text, start);
      if (!token) continue;
      let end = start + length;
      this.#begin.lastIndex = end;
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

function splitter(pattern: PatternJson): PreTokenizer {
  try {
    return byPattern(patternOf(pattern));
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

const spellAll: PreTokenizer = (pieces) => pieces.map(spellBytes);
const prefixSpace: PreTokenizer = (pieces) => pieces.map((piece) => (piece.startsWith(' ') ? piece : ` ${piece}`));

function preTokenizerOf(part: Json): PreTokenizer[] {
  const { type, pattern, behavior, invert } = part;
  if (type === 'Split') {
    if (behavior !== 'Isolated' || invert === true)
      throw unsupported(`splits text with behavior ${quoted(behavior)}${invert === true ? ', inverted' : ''}`);
    const [[kind, source] = []] = isObject(pattern) ? Object.entries(pattern) : [];
    if ((kind !== 'Regex' && kind !== 'String') || typeof source !== 'string' || source === '')
      throw corrupt(`splits text by the pattern ${quoted(pattern)}`);
    return [splitter({ [kind]: source } as PatternJson)];
  }
  if (type === 'ByteLevel') {
    const prefix = part.add_prefix_space === true ? [prefixSpace] : [];
    return [...prefix, ...(part.use_regex === false ? [] : [splitter({ Regex: WORDS })]), spellAll];
  }
  if (type === 'Digits') return [byPattern(part.individual_digits === true ? /\p{N}|\P{N}+/gu : /\p{N}+|\P{N}+/gu)];
  if (type === 'Metaspace') return [metaspace(part)];
  throw unsupported(`splits text with ${quoted(type)}`);
}

/** The option's older name is add_prefix_space. */
const prependScheme = ({ prepend_scheme, add_prefix_space }: Json): unknown =>
  prepend_scheme ?? (add_prefix_space === false ? 'never' : 'always');

/**
 * Splits before U+2581, the space of SentencePiece, where no token crosses the place: the ids stay the same, and words
 * are remembered. undefined: it would change ids, or there is no such space.
 */
function wordSplitter({ ignore_merges }: Json, { ids }: BytePairs): PreTokenizer | undefined {
  if (ignore_merges === true || !ids.has('\u2581')) return undefined;
  const before = new Set(['\u2581']);
  for (const token of ids.keys())
    if (token.includes('\u2581', 1)) for (const [each] of token.matchAll(/.(?=\u2581)/gsu)) before.add(each);
  const crossed = Array.from(before, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
  const place = new RegExp(`(?<![${crossed.join('')}])(?=\u2581)`, 'u');
  return (pieces) => pieces.flatMap((piece) => piece.split(place));
}

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
