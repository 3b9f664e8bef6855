// Byte-pair encoding: the pieces of a text become token ids.
import type { Json } from '../base/json.js';

/** The vocabulary and the merges of a model. */
export interface BytePairs {
  /** Ids by token. */
  ids: ReadonlyMap<string, number>;
  /** Which merge joins two tokens, by pairKey. A lower number comes first. */
  ranks: ReadonlyMap<number, number>;
  /** The id that each merge gives. */
  merged: Int32Array;
}

/** A character that is no token. */
const UNKNOWN = -1;
/** Two ids as one number. Ids are below 2^24, so that a pair with UNKNOWN is no other pair's key. */
export const pairKey = (left: number, right: number): number => left * 2 ** 25 + right;

/** The tokens of byte fallback. */
export const BYTES = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);

/** Longest piece that is remembered (longer ones seldom come again), and how much: characters and ids together. */
const LONGEST = 16;
const MOST = 2 ** 19;

/** Encodes pieces, and remembers short ones: most words of a text were seen before. */
export class PieceEncoder {
  readonly #model: BytePairs;
  readonly #spell: (piece: string) => string;
  readonly #bytes: number[] | undefined;
  readonly #unknown: number | undefined;
  readonly #fuse: boolean;
  readonly #ignoreMerges: boolean;
  readonly #known = new Map<string, number[]>();
  #size = 0;

  /**
   * @param json the model in tokenizer.json, as readModel has checked it
   * @param spell the spelling of a piece in the vocabulary
   */
  constructor(json: Json, model: BytePairs, spell: (piece: string) => string) {
    this.#model = model;
    this.#spell = spell;
    this.#bytes = json.byte_fallback === true ? BYTES.map((token) => model.ids.get(token)!) : undefined;
    this.#unknown = typeof json.unk_token === 'string' ? model.ids.get(json.unk_token) : undefined;
    this.#fuse = json.fuse_unk === true;
    this.#ignoreMerges = json.ignore_merges === true;
  }

  /** Pushes the ids of a piece. */
  encode(piece: string, ids: number[]): void {
    let own = this.#known.get(piece);
    if (own === undefined) {
      own = this.#encode(this.#spell(piece));
      if (piece.length <= LONGEST) this.#remember(piece, own);
    }
    for (const id of own) ids.push(id);
  }

  #remember(piece: string, ids: number[]): void {
    this.#size += piece.length + ids.length;
    if (this.#size > MOST) {
      this.#known.clear();
      this.#size = piece.length + ids.length;
    }
    // A copy: a piece may be a view of its text, which it would keep in memory.
    this.#known.set(Buffer.from(piece).toString(), ids);
  }

  #encode(word: string): number[] {
    const whole = this.#ignoreMerges ? this.#model.ids.get(word) : undefined;
    if (whole !== undefined) return [whole];
    const characters = [...word];
    const symbols = characters.map((character) => this.#model.ids.get(character) ?? UNKNOWN);
    const ids: number[] = [];
    let unknown = false;
    merge(symbols, this.#model, (id, at) => {
      if (id !== UNKNOWN) ids.push(id);
      else if (this.#bytes) for (const byte of Buffer.from(characters[at])) ids.push(this.#bytes[byte]);
      else if (this.#unknown !== undefined && !(this.#fuse && unknown)) ids.push(this.#unknown);
      unknown = id === UNKNOWN;
    });
    return ids;
  }
}

/**
 * Joins neighbours until no merge is left: always the pair of the lowest rank, the leftmost of equal ones. Time grows
 * as n log n.
 *
 * @param each called with the tokens that remain and the places where they begin
 */
function merge(symbols: number[], { ranks, merged }: BytePairs, each: (id: number, at: number) => void): void {
  const n = symbols.length;
  const [next, previous] = [new Int32Array(n), new Int32Array(n)];
  /** The rank of the pair that begins at a place, or -1. */
  const rankAt = new Int32Array(n);
  /** Pairs as rank * n + place. Those that have changed since stay in it. */
  const queue: number[] = [];
  const rank = (at: number): void => {
    const found = next[at] < n ? ranks.get(pairKey(symbols[at], symbols[next[at]])) : undefined;
    rankAt[at] = found ?? -1;
    if (found !== undefined) push(queue, found * n + at);
  };
  for (let at = 0; at < n; at++) [next[at], previous[at]] = [at + 1, at - 1];
  for (let at = 0; at < n - 1; at++) rank(at);
  while (queue.length > 0) {
    const first = pop(queue);
    const at = first % n;
    const found = (first - at) / n;
    if (rankAt[at] !== found) continue;
    const gone = next[at];
    symbols[at] = merged[found];
    rankAt[gone] = -1;
    next[at] = next[gone];
    if (next[at] < n) previous[next[at]] = at;
    rank(at);
    if (at > 0) rank(previous[at]);
  }
  for (let at = 0; at < n; at = next[at]) each(symbols[at], at);
}

/** Adds a number to a heap, whose least number comes first. */
function push(heap: number[], value: number): void {
  let at = heap.push(value) - 1;
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (heap[above] <= value) break;
    heap[at] = heap[above];
    at = above;
  }
  heap[at] = value;
}

/** Takes the least number out of a heap that is not empty. */
function pop(heap: number[]): number {
  const [least, value] = [heap[0], heap.pop()!];
  const n = heap.length;
  if (n === 0) return least;
  let at = 0;
  for (let below = 1; below < n; below = 2 * at + 1) {
    if (below + 1 < n && heap[below + 1] < heap[below]) below++;
    if (heap[below] >= value) break;
    heap[at] = heap[below];
    at = below;
  }
  heap[at] = value;
  return least;
}
