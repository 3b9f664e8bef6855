// The native policy with the embedded task's model (380 k parameters): update, scoring, generation.
import { Policy, type PolicyConfig } from '../lib/index.js';
import type { Contestant, Group, Prepared } from './harness.js';
import { agree, logRatio, type Scale } from './inputs.js';
import type { PeerCase } from './peers.js';

const CONFIG = {
  model_type: 'llama',
  vocab_size: 18,
  hidden_size: 128,
  intermediate_size: 320,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  rms_norm_eps: 1e-5,
  rope_theta: 1e4,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
} as const satisfies PolicyConfig;
const UPDATE = { learningRate: 3e-4, adamBeta2: 0.99 };
/** Completions of one prompt, next to each other, as GRPO samples them. */
const GROUP = 8;

export const policyGroups = ({ device, tiny }: Scale): Group[] => {
  if (device !== 'cpu') return []; // the policy computes on the CPU
  const rows = tiny ? 16 : 256;
  return [
    { name: `policy update, ${rows} different prompts`, setup: () => update(makeBatch(rows)) },
    {
      name: `policy update, ${rows / GROUP} prompts x ${GROUP} completions`,
      setup: () => update(sharePrompts(makeBatch(rows))),
    },
    { name: `policy log-probs, ${rows} different prompts`, setup: () => logProbs(makeBatch(rows)) },
    ...(tiny ? [rows] : [rows, 48]).map((count) => ({
      name: `policy generate, ${count} rows x 64 tokens`,
      setup: () => generate(makeBatch(count)),
    })),
  ];
};

export interface Batch {
  prompts: number[][];
  completions: number[][];
}

/** Prompts of 5 to 20 tokens and completions of 4 to 45, from a small generator. */
function makeBatch(rows: number): Batch {
  let state = 1;
  const int = (a: number, b: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return a + Math.floor(((state >>> 8) * (b - a + 1)) / 2 ** 24);
  };
  const tokens = (count: number) => Array.from({ length: count }, () => int(0, CONFIG.vocab_size - 1));
  const prompts = Array.from({ length: rows }, () => tokens(int(5, 20)));
  return { prompts, completions: prompts.map(() => tokens(int(4, 45))) };
}

const sharePrompts = ({ prompts, completions }: Batch): Batch => ({
  prompts: prompts.map((_, i) => prompts[i - (i % GROUP)]),
  completions,
});

async function update(batch: Batch): Promise<Prepared> {
  const policy = Policy.create(CONFIG, { seed: 1 });
  const scored = await score(policy, batch);
  const training = {
    ...batch,
    oldLogProbs: scored.map((x, t) => x - logRatio(t)),
    advantages: scored.map((_, t) => ((t * 37) % 64) / 32 - 1),
  };
  const { loss } = await policy.computeGradients(training);
  const gradients = [...policy.gradients()].map(([name, tensor]) => [name, tensor.data as Float32Array] as const);
  const learner = policy.clone();
  return {
    contestants: [row('update', scored.length, () => learner.update(training, UPDATE))],
    peers: {
      kind: 'policy_update',
      parameters: { ...modelParameters(), ...UPDATE },
      arrays: {
        ...weights(policy),
        ...packed(batch),
        advantages: training.advantages,
        oldLogProbs: training.oldLogProbs,
      },
      verify: agree({
        loss: { values: [loss], absolute: 1e-6 },
        ...Object.fromEntries(
          gradients.map(([name, values]) => [`d ${name}`, { values, absolute: 1e-4 * norm(values) }]),
        ),
      }),
    },
  };
}

async function logProbs(batch: Batch): Promise<Prepared> {
  const policy = Policy.create(CONFIG, { seed: 1 });
  const { sequences, start } = sequencesOf(batch);
  const scored = await score(policy, batch);
  return {
    contestants: [row('log-probs', scored.length, () => policy.logProbs(sequences, { start }))],
    peers: {
      kind: 'policy_logprobs',
      parameters: modelParameters(),
      arrays: { ...weights(policy), ...packed(batch) },
      verify: agree({ logProbs: { values: scored, absolute: ERROR } }),
    },
  };
}

function generate(batch: Batch): Prepared {
  const policy = Policy.create(CONFIG, { seed: 1 });
  const maxNewTokens = 64;
  const { prompts } = batch;
  // Samples differ, so the peer's log-probabilities must match those of our policy for the peer's tokens.
  const verify: PeerCase['verify'] = async (outputs) => {
    const tokens = outputs.get('tokens')?.values;
    if (tokens?.length !== prompts.length * maxNewTokens)
      return `tokens must have ${prompts.length * maxNewTokens} elements, not ${tokens?.length}`;
    const completions = prompts.map((_, i) => [...tokens.subarray(i * maxNewTokens, (i + 1) * maxNewTokens)]);
    return agree({ logProbs: { values: await score(policy, { prompts, completions }), absolute: ERROR } })(outputs);
  };
  return {
    contestants: [
      row('generate', prompts.length * maxNewTokens, () => policy.generate(prompts, { maxNewTokens, ignoreEos: true })),
    ],
    peers: {
      kind: 'policy_generate',
      parameters: { ...modelParameters(), maxNewTokens },
      arrays: { ...weights(policy), ...packed(batch) },
      verify,
    },
  };
}

/**
 * Log-probabilities of up to 4 through two layers in float32. PyTorch's own formulations differ by 1e-5; this allows
 * more.
 */
const ERROR = 1e-4;
const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

export const row = (name: string, tokens: number, run: () => Promise<unknown>): Contestant => ({
  name,
  run,
  tokens,
  versusPeers: true,
});

export const sequencesOf = ({ prompts, completions }: Batch) => ({
  sequences: prompts.map((prompt, i) => [...prompt, ...completions[i]]),
  start: prompts.map((prompt) => prompt.length),
});

export async function score(policy: Policy, batch: Batch): Promise<Float32Array> {
  const { sequences, start } = sequencesOf(batch);
  return (await policy.logProbs(sequences, { start })).logProbs;
}

const modelParameters = () => ({
  hidden: CONFIG.hidden_size,
  layers: CONFIG.num_hidden_layers,
  heads: CONFIG.num_attention_heads,
  kvHeads: CONFIG.num_key_value_heads,
  ropeTheta: CONFIG.rope_theta,
  eager: false,
  intermediate: CONFIG.intermediate_size,
  vocab: CONFIG.vocab_size,
});

/** Weights by their names in a checkpoint, so that both sides run the same network. */
export const weights = (policy: Policy) =>
  Object.fromEntries(policy.parameters.map(({ name }) => [name, policy.readParameter(name).data as Float32Array]));

export const packed = ({ prompts, completions }: Batch) => ({
  promptLengths: Int32Array.from(prompts, ({ length }) => length),
  completionLengths: Int32Array.from(completions, ({ length }) => length),
  promptTokens: Int32Array.from(prompts.flat()),
  completionTokens: Int32Array.from(completions.flat()),
});
