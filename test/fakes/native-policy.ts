import { Policy } from '../../lib/index.js';
import type { Task } from '../../lib/tasks/task.js';

/** A native policy for `task` so small that hundreds of steps take seconds. */
export const nativePolicy = ({ tokenizer }: Task, seed = 1): Policy =>
  Policy.create(
    {
      model_type: 'llama',
      vocab_size: tokenizer.vocabSize,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      tie_word_embeddings: true,
      eos_token_id: tokenizer.eosTokenId,
    },
    { seed },
  );
