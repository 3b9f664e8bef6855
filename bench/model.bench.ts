// A model of the user's: update, scoring, prefill, generation, beside what the machine can do and beside PyTorch.
import { Policy, type PolicyConfig, type PolicyDType } from '../lib/index.js';
import { matrixProduct } from './gemm.bench.js';
import type { Contestant, Group, Prepared } from './harness.js';
import { agree, logRatio } from './inputs.js';
import type { PeerCase } from './peers.js';
import { type Batch, packed, score, sequencesOf, weights } from './policy.bench.js';

export interface ModelScale {
  folder: string;
  tiny: boolean;
}

const UPDATE = { learningRate: 1e-6, adamBeta2: 0.99 };
/** Rounds of seconds each: fewer than a kernel gets. */
const ROUNDS = { warmUp: 1, runs: 3 };

/** Prompts x samples, prompt and completion tokens. */
const SHAPES = {
  updates: [
    { rows: 16, prompt: 64, completion: 128 },
    { rows: 32, prompt: 70, completion: 30 },
  ],
  generation: [
    { name: '64 rows', prompts: 64, n: 1 },
    { name: '8 prompts x 8 samples', prompts: 8, n: 8 },
    { name: '8 rows', prompts: 8, n: 1 },
    { name: '1 row', prompts: 1, n: 1 },
  ],
  prompt: 32,
  newTokens: 32,
};

export function modelGroups({ folder, tiny }: ModelScale): Group[] {
  const shrink = (count: number) => (tiny ? Math.ceil(count / 16) : count);
  const updates = SHAPES.updates.map(({ rows, prompt, completion }) => ({
    rows: shrink(rows),
    prompt: shrink(prompt),
    completion: shrink(completion),
  }));
  const [prompt, newTokens] = [shrink(SHAPES.prompt), shrink(SHAPES.newTokens)];
  return (['float32', 'bfloat16'] as const).flatMap((dtype) => {
    const group = (name: string, setup: (policy: Policy) => Prepared | Promise<Prepared>): Group => ({
      name: `model ${dtype} ${name}`,
      rounds: ROUNDS,
      setup: async () => setup(await Policy.load(folder, { dtype })),
    });
    const shape = ({ rows, prompt, completion }: (typeof updates)[number]) => `${rows} x (${prompt} + ${completion})`;
    return [
      ...updates.map((each) => group(`update ${shape(each)}`, (policy) => update(policy, makeBatch(policy, each)))),
      group(`log-probs ${shape(updates[0])}`, (policy) => logProbs(policy, makeBatch(policy, updates[0]))),
      group(`prefill 16 x ${prompt}`, (policy) => generate(policy, shrink(16), 1, prompt, 1)),
      ...SHAPES.generation.map(({ name, prompts, n }) =>
        group(`generate ${name} x ${newTokens} tokens`, (policy) =>
          generate(policy, shrink(prompts), n, prompt, newTokens),
        ),
      ),
    ];
  });
}

function makeBatch({ config }: Policy, { rows, prompt, completion }: (typeof SHAPES.updates)[number]): Batch {
  let state = 1;
  const token = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(((state >>> 8) * config.vocab_size) / 2 ** 24);
  };
  const list = (count: number) => Array.from({ length: rows }, () => Array.from({ length: count }, token));
  return { prompts: list(prompt), completions: list(completion) };
}

/** Operations of the matrices alone for tokens that go through the layers, and tokens whose logits are wanted. */
function operationsOf(policy: Policy, tokens: number, scored: number): number {
  const { hidden_size, vocab_size } = policy.config;
  const matrices = policy.parameters.filter(({ name, shape }) => shape.length === 2 && name.includes('layers.'));
  const layers = matrices.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0);
  return 2 * (tokens * layers + scored * hidden_size * vocab_size);
}

const counts = ({ prompts, completions }: Batch) => {
  const scored = completions.flat().length;
  return { fed: prompts.flat().length + scored - prompts.length, tokens: prompts.flat().length + scored, scored };
};

function update(policy: Policy, batch: Batch): Promise<Prepared> {
  const { fed, tokens, scored } = counts(batch);
  return score(policy, batch).then(async (logProbs) => {
    const training = {
      ...batch,
      oldLogProbs: logProbs.map((x, t) => x - logRatio(t)),
      advantages: logProbs.map((_, t) => ((t * 37) % 64) / 32 - 1),
    };
    const { loss } = await policy.computeGradients(training);
    const { advantages, oldLogProbs } = training;
    const values = { ...weights(policy), ...packed(batch), advantages, oldLogProbs };
    return {
      contestants: [
        row('update', tokens, 3 * operationsOf(policy, fed, scored), () => policy.update(training, UPDATE)),
        matrixProduct(1024),
      ],
      peers: peer('policy_update', policy, UPDATE, values, agree({ loss: { values: [loss], absolute: 1e-4 } })),
    };
  });
}

async function logProbs(policy: Policy, batch: Batch): Promise<Prepared> {
  const { fed, tokens, scored } = counts(batch);
  const { sequences, start } = sequencesOf(batch);
  const values = await score(policy, batch);
  return {
    contestants: [
      row('log-probs', tokens, operationsOf(policy, fed, scored), () => policy.logProbs(sequences, { start })),
      matrixProduct(1024),
    ],
    peers: peer(
      'policy_logprobs',
      policy,
      {},
      { ...weights(policy), ...packed(batch) },
      agree({ logProbs: { values, absolute: ERROR } }),
    ),
  };
}

/** One new token is a prefill: its tokens are then those of the prompts. */
function generate(policy: Policy, count: number, n: number, length: number, maxNewTokens: number): Prepared {
  const { prompts } = makeBatch(policy, { rows: count, prompt: length, completion: 0 });
  const rows = count * n;
  // What PyTorch is given: it does not share prompts.
  const all = prompts.flatMap((prompt) => Array.from({ length: n }, () => prompt));
  const steps = rows * (maxNewTokens - 1);
  const verify: PeerCase['verify'] = async (outputs) => {
    const tokens = outputs.get('tokens')?.values ?? [];
    const completions = all.map((_, i) => [...tokens.slice(i * maxNewTokens, (i + 1) * maxNewTokens)]);
    return agree({ logProbs: { values: await score(policy, { prompts: all, completions }), absolute: ERROR } })(
      outputs,
    );
  };
  return {
    contestants: [
      {
        ...row(
          maxNewTokens === 1 ? 'prefill' : 'generate',
          maxNewTokens === 1 ? count * length : rows * maxNewTokens,
          operationsOf(policy, count * length + steps, count + steps),
          () => policy.generate(prompts, { n, maxNewTokens, ignoreEos: true, seed: 1 }),
        ),
        // One row reads every weight for each token.
        ...(rows === 1 && { traffic: maxNewTokens * policy.parameterCount * (policy.dtype === 'float32' ? 4 : 2) }),
      },
      matrixProduct(1024),
    ],
    peers: peer(
      'policy_generate',
      policy,
      { maxNewTokens },
      { ...weights(policy), ...packed({ prompts: all, completions: all.map(() => []) }) },
      verify,
    ),
  };
}

/** Through tens of layers in float32: logits up to some tens, each with a few hundred roundings. */
const ERROR = 5e-3;

const row = (name: string, tokens: number, operations: number, run: () => Promise<unknown>): Contestant => ({
  name,
  run,
  tokens,
  operations,
  versusPeers: true,
});

/** The peer is a plain Llama: of another architecture, or with other constants, there is none. */
function peer(
  kind: string,
  { config }: { config: Readonly<PolicyConfig>; dtype: PolicyDType },
  parameters: PeerCase['parameters'],
  arrays: PeerCase['arrays'],
  verify: PeerCase['verify'],
): PeerCase | undefined {
  const heads = config.num_attention_heads;
  const plain =
    config.model_type === 'llama' &&
    config.tie_word_embeddings === true &&
    config.rms_norm_eps === 1e-5 &&
    !config.attention_bias &&
    !config.rope_scaling &&
    !config.rope_parameters?.rope_type?.replace('default', '') &&
    (config.head_dim ?? config.hidden_size / heads) === config.hidden_size / heads;
  if (!plain) return undefined;
  return {
    kind,
    parameters: {
      hidden: config.hidden_size,
      layers: config.num_hidden_layers,
      heads,
      kvHeads: config.num_key_value_heads ?? heads,
      intermediate: config.intermediate_size,
      vocab: config.vocab_size,
      ropeTheta: config.rope_theta ?? 1e4,
      eager: true,
      ...parameters,
    },
    arrays,
    verify,
  };
}
