// Checks the model of a tokenizer.json: its shape, so that nothing in it can do harm, and its options, so that it
// encodes as the Python library does.
import { isObject, type Json } from '../base/json.js';
import { quoted } from '../base/text.js';
import { corrupt, isId, unsupported } from './added-tokens.js';
import { BYTES, type BytePairs, pairKey } from './byte-pairs.js';

/** The vocabulary and the merges. */
export function readModel({ model }: Json): BytePairs {
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
  const whole = wholeTokens(model, ids);
  const pairs = Array.isArray(merges[0]);
  const ranks = new Map<number, number>();
  const merged = new Int32Array(merges.length);
  for (const [rank, merge] of merges.entries()) {
    const pair: unknown = pairs ? merge : typeof merge === 'string' ? merge.split(' ') : undefined;
    const [left, right] = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [];
    const isPair = typeof left === 'string' && typeof right === 'string';
    const [a, b, both] = isPair ? [ids.get(left), ids.get(right), ids.get(left + right)] : [];
    if (a === undefined || b === undefined || both === undefined)
      throw corrupt(`has the merge ${quoted(merge)}, which is not a token of its vocabulary`);
    if (whole.has(left as string) || whole.has(right as string))
      throw unsupported(`has the merge ${quoted(merge)} of a token without text`);
    ranks.set(pairKey(a, b), rank);
    merged[rank] = both;
  }
  return { ids, ranks, merged };
}

/** The tokens that stand for a byte or for an unknown character. Python merges them by id, so no merge may hold one. */
function wholeTokens({ byte_fallback, unk_token }: Json, ids: ReadonlyMap<string, number>): Set<string> {
  if (unk_token !== undefined && unk_token !== null && (typeof unk_token !== 'string' || !ids.has(unk_token)))
    throw corrupt(`has the unk_token ${quoted(unk_token)}, which is not a token of its vocabulary`);
  const missing = byte_fallback === true ? BYTES.find((token) => !ids.has(token)) : undefined;
  if (missing !== undefined) throw unsupported(`has byte_fallback without the token ${missing}`);
  return new Set([...(byte_fallback === true ? BYTES : []), ...(typeof unk_token === 'string' ? [unk_token] : [])]);
}
