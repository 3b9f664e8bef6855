// Checks the model of a tokenizer.json: its shape, so that nothing in it can do harm, and its options, so that it
// encodes as the Python library does.
import { isObject, type Json } from '../base/json.js';
import { quoted } from '../base/text.js';
import { corrupt, isId, unsupported } from './added-tokens.js';
import { BYTES } from './encoder.js';

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
  const whole = wholeTokens(model, ids);
  const pairs = Array.isArray(merges[0]);
  for (const merge of merges) {
    const pair: unknown = pairs ? merge : typeof merge === 'string' ? merge.split(' ') : undefined;
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === 'string');
    if (!isPair || ![...pair, pair.join('')].every((part) => ids.has(part)))
      throw corrupt(`has the merge ${quoted(merge)}, which is not a token of its vocabulary`);
    if (pair.some((part) => whole.has(part)))
      throw unsupported(`has the merge ${quoted(merge)} of a token without text`);
  }
  return ids;
}

/** The tokens that stand for a byte or for an unknown character. Python merges them by id, so no merge may hold one. */
function wholeTokens({ byte_fallback, unk_token }: Json, ids: ReadonlyMap<string, number>): Set<string> {
  if (unk_token !== undefined && unk_token !== null && (typeof unk_token !== 'string' || !ids.has(unk_token)))
    throw corrupt(`has the unk_token ${quoted(unk_token)}, which is not a token of its vocabulary`);
  const missing = byte_fallback === true ? BYTES.find((token) => !ids.has(token)) : undefined;
  if (missing !== undefined) throw unsupported(`has byte_fallback without the token ${missing}`);
  return new Set([...(byte_fallback === true ? BYTES : []), ...(typeof unk_token === 'string' ? [unk_token] : [])]);
}
