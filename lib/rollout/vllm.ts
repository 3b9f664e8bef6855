import { PrlError } from '../base/errors.js';
import { HttpEngine, type HttpEngineOptions } from './http-engine.js';
import { type Call, field, type Protocol, reportedVersion, type Sample } from './protocol.js';

/** vLLM's completions, and its development endpoints for weights (VLLM_SERVER_DEV_MODE=1). */
const VLLM: Protocol = {
  name: 'VllmEngine',

  completions: ({ prompt, n, seed, maxNewTokens, temperature, stop, ignoreEos, model }) => ({
    path: '/v1/completions',
    body: {
      model,
      prompt,
      n,
      seed,
      max_tokens: maxNewTokens,
      temperature,
      // Our stop ids and no others. Without any, the model's own.
      ignore_eos: ignoreEos || stop !== undefined,
      stop_token_ids: stop,
      return_token_ids: true,
      logprobs: 0,
      // Set explicitly, because a model's generation_config.json may truncate or penalise by default.
      top_p: 1,
      top_k: 0,
      min_p: 0,
      repetition_penalty: 1,
      presence_penalty: 0,
      frequency_penalty: 0,
    },
  }),

  read(answer, _request, refuse) {
    const choices = field(answer, 'choices');
    if (!Array.isArray(choices)) return refuse('an array `choices`', answer);
    const samples: Sample[] = choices.map((choice) => ({
      tokens: field(choice, 'token_ids'),
      logProbs: field(field(choice, 'logprobs'), 'token_logprobs'),
      prompt: field(choice, 'prompt_token_ids'),
      finish: field(choice, 'finish_reason'),
      // vLLM does not report the version; prl serve does.
      version: field(answer, 'weight_version'),
    }));
    return inOrder(choices, samples);
  },

  async update(call, { folder, version }, release) {
    await development(call('/pause?mode=wait', {}));
    try {
      await development(call('/collective_rpc', { method: 'reload_weights', kwargs: { weights_path: folder } }));
      await call('/update_weight_version', { new_version: version }).catch(absent);
    } finally {
      await release('/resume', {});
    }
  },

  version: (call) => reportedVersion(call, '/weight_info'),
};

/** Each choice has the index of its sample. */
function inOrder(choices: unknown[], samples: Sample[]): Sample[] {
  const order = choices.map((choice, i) => ({ index: Number(field(choice, 'index') ?? i), sample: samples[i] }));
  return order.sort((a, b) => a.index - b.index).map(({ sample }) => sample);
}

const isAbsent = (error: unknown) => error instanceof PrlError && /answered 40[45]/.test(error.message);

function absent(error: unknown): void {
  if (!isAbsent(error)) throw error;
}

/** Explains what to do if the development endpoints are missing. */
async function development(answer: ReturnType<Call>): Promise<void> {
  await answer.catch((error) => {
    if (!isAbsent(error)) throw error;
    throw new PrlError(
      'ERR_PRL_WEIGHT_SYNC',
      `${error.message}. vLLM takes new weights only when it is started with VLLM_SERVER_DEV_MODE=1`,
      { cause: error },
    );
  });
}

/**
 * Rollouts from vLLM servers or `prl serve`: POST /v1/completions with token ids in and out. docs/rollout.md says how
 * to run them.
 *
 * @throws PrlError from its calls: ERR_PRL_ROLLOUT for an answer that is refused, ERR_PRL_WEIGHT_SYNC when no server
 *   takes the weights, ERR_PRL_ABORTED
 */
export class VllmEngine extends HttpEngine {
  constructor(options: HttpEngineOptions) {
    super(VLLM, options);
  }
}
