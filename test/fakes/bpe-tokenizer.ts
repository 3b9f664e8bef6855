// A byte-level BPE tokenizer as models have, small enough to be written down: 256 bytes, a few merges, chat markers.
import { Tokenizer } from '../../lib/policy/tokenizer.js';

/** GPT-2's printable stand-ins for bytes. */
function byteSymbols(): string[] {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
}

const MERGES = ['t h', 'Ġ th', 'Ġth e', 'i n', 'e r', 'Ġ 1', '1 2'];
const SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];

export const CHAT_TEMPLATE =
  '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}';

export function bpeTokenizer({ chat }: { chat: boolean }): Tokenizer {
  const symbols = [...byteSymbols(), ...MERGES.map((merge) => merge.replace(' ', '')), ...SPECIAL];
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content) => ({
      id: symbols.indexOf(content),
      content,
      ...{ single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      ...{ dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(symbols.slice(0, -SPECIAL.length).map((symbol, id) => [symbol, id])),
      merges: MERGES,
    },
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    eos_token: chat ? '<|im_end|>' : '<|endoftext|>',
    clean_up_tokenization_spaces: false,
    ...(chat && { chat_template: CHAT_TEMPLATE }),
  };
  return new Tokenizer(json, config);
}
