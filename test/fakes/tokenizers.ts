// Small tokenizers of the kinds that models have.
import { Tokenizer } from '../../lib/policy/tokenizer.js';

const SPECIAL = ['<pad>', '<eos>'];
const config = { eos_token: '<eos>', pad_token: '<pad>' };
const common = {
  version: '1.0',
  added_tokens: SPECIAL.map((content, id) => ({ id, content, special: true, normalized: false })),
  normalizer: null,
  post_processor: null,
};
const bytePairs = (symbols: readonly string[], merges: readonly string[]) => ({
  type: 'BPE',
  unk_token: null,
  byte_fallback: false,
  vocab: Object.fromEntries([...SPECIAL, ...symbols].map((symbol, id) => [symbol, id])),
  merges,
});

/**
 * Byte-level (GPT-2, Llama 3, Qwen), with tokens that hold newlines among other things. Bytes that are no visible
 * character have stand-ins: a newline is U+010A, the three bytes of an arrow are U+00E2 U+0128 U+0134.
 */
export function byteLevelTokenizer(): Tokenizer {
  const merges = [') \u010a', '\u010a \u010a', '. \u010a\u010a'];
  const symbols = [...'fxyz().\u010a\u00e2\u0128\u0134', ...merges.map((merge) => merge.replace(' ', ''))];
  return new Tokenizer(
    {
      ...common,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: bytePairs(symbols, merges),
    },
    config,
  );
}

/**
 * SentencePiece's kind (Llama 2, Mistral): a word begins with U+2581, a space that is dropped at the beginning of a
 * text.
 */
export function wordTokenizer(words: readonly string[]): Tokenizer {
  const space = { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'always', split: true };
  return new Tokenizer({ ...common, pre_tokenizer: space, decoder: space, model: bytePairs(words, []) }, config);
}
