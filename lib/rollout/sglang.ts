import { PrlError } from '../base/errors.js';
import { seedOf } from '../base/random.js';
import { HttpEngine, type HttpEngineOptions } from './http-engine.js';
import { field, type Protocol, reportedVersion, type Sample } from './protocol.js';

/** SGLang's own endpoint: the OpenAI one gives no token ids. */
const SGLANG: Protocol = {
  name: 'SglangEngine',

  completions: ({ prompt, n, seed, maxNewTokens, temperature, stop, ignoreEos }) => ({
    path: '/generate',
    body: {
      // n copies with seeds of their own: the copies that SGLang itself would make share one seed.
      input_ids: Array.from({ length: n }, () => prompt),
      sampling_params: Array.from({ length: n }, (_, sample) => ({
        max_new_tokens: maxNewTokens,
        temperature,
        sampling_seed: seedOf('sample', seed, sample) >>> 1,
        ignore_eos: ignoreEos || stop !== undefined,
        stop_token_ids: stop,
        // The stop token stays among the ids.
        no_stop_trim: true,
        // Set explicitly, because a model's generation_config.json may truncate or penalise by default.
        top_p: 1,
        top_k: -1,
        min_p: 0,
        repetition_penalty: 1,
        presence_penalty: 0,
        frequency_penalty: 0,
      })),
      return_logprob: true,
    },
  }),

  read(answer, { prompt }, refuse) {
    const items = Array.isArray(answer) ? answer : [answer];
    return items.map((item): Sample => {
      const meta = field(item, 'meta_info');
      const pairs = field(meta, 'output_token_logprobs');
      if (!Array.isArray(pairs)) return refuse('an array `meta_info.output_token_logprobs`', item);
      const read = field(meta, 'prompt_tokens');
      if (read !== undefined && read !== prompt.length) refuse(`a prompt of ${prompt.length} tokens`, read);
      const tokens = pairs.map((pair) => (Array.isArray(pair) ? pair[1] : undefined));
      // output_ids may come too. They may lack the stop token, nothing else.
      const ids = field(item, 'output_ids');
      const missing = Array.isArray(ids) ? tokens.length - ids.length : 0;
      if (Array.isArray(ids) && (missing < 0 || missing > 1 || !ids.every((id, i) => id === tokens[i])))
        refuse('output_ids that agree with output_token_logprobs', { output_ids: ids, tokens });
      return {
        tokens,
        logProbs: pairs.map((pair) => (Array.isArray(pair) ? pair[0] : undefined)),
        finish: field(field(meta, 'finish_reason'), 'type'),
        version: field(meta, 'weight_version'),
      };
    });
  },

  async update(call, { folder, version }) {
    const body = { model_path: folder, weight_version: version, flush_cache: true };
    const answer = await call('/update_weights_from_disk', body);
    if (field(answer, 'success') !== true)
      throw new PrlError('ERR_PRL_WEIGHT_SYNC', `the update of the weights failed: ${JSON.stringify(answer)}`);
  },

  version: async (call) =>
    (await reportedVersion(call, '/model_info')) ?? (await reportedVersion(call, '/get_model_info')),
};

/**
 * Rollouts from SGLang servers: POST /generate with token ids in and out. docs/rollout.md says how to run them.
 *
 * @throws PrlError from its calls, as VllmEngine
 */
export class SglangEngine extends HttpEngine {
  constructor(options: HttpEngineOptions) {
    super(SGLANG, options);
  }
}
