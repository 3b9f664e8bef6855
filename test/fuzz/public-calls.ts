// Right arguments of the public functions of lib/kernels, tensors, policies and quantile PRMs.

import { cumulative } from '../../lib/base/packed.js';
import {
  coherence,
  frpoAdvantages,
  groupAdvantages,
  importanceWeights,
  linearLogProbs,
  linearPolicyLoss,
  outcomeConditionedCenter,
  Policy,
  policyLoss,
  policyLossFromLogits,
  prlAdvantages,
  progrsAdvantages,
  QuantilePrm,
  quantileLoss,
  splitSteps,
  stepsOfResponses,
  Tensor,
  tokenLogProbs,
  topEntropyThreshold,
} from '../../lib/index.js';
import { tinyConfig } from '../policy/tiny.js';
import type { Making } from './making.js';

/** A public function; arguments by name, in the order of its parameters, or as its one object. */
export interface PublicCall {
  make(m: Making): Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: what comes is what the fuzz makes of right arguments
  call(args: any): unknown;
  outputs?: string[];
}

const VOCAB = 11;
const config = tinyConfig({
  ...{ vocab_size: VOCAB, hidden_size: 8, intermediate_size: 6, num_hidden_layers: 1, num_attention_heads: 2 },
  ...{ num_key_value_heads: 1, head_dim: 4, max_position_embeddings: 64 },
});

const pool: { policy?: Policy; prm?: QuantilePrm } = {};
const newPolicy = () => Policy.create(config, { seed: 1, memoryCheck: false } as never);
function policyOf(m: Making): Policy {
  if (m.known) return newPolicy();
  if (!pool.policy || m.chance(0.03)) pool.policy = newPolicy();
  return pool.policy;
}
function prmOf(m: Making): QuantilePrm {
  const make = () => QuantilePrm.create(newPolicy(), { width: 3, finetune: true });
  if (m.known) return make();
  if (!pool.prm || m.chance(0.03)) pool.prm = make();
  return pool.prm;
}

/** Numbers in one of the shapes that are taken. */
function numbers(m: Making, n: number, value: () => number = () => m.normal()): unknown {
  const array = m.floats(n, value).data as Float32Array;
  return m.of([() => array, () => Tensor.from(array), () => Array.from(array)])();
}
const floats = (m: Making, n: number, value: () => number = () => m.normal()): unknown => {
  const array = m.floats(n, value).data as Float32Array;
  return m.chance(0.5) ? array : Tensor.from(array);
};
function integers(m: Making, values: number[]): unknown {
  const array = m.packed(values).data as Int32Array;
  return m.of([() => array, () => Tensor.from(array), () => [...values]])();
}
const logProb = (m: Making) => () => -Math.abs(m.normal()) - 0.1;
const matrix = (m: Making, rows: number, columns: number) =>
  Tensor.from(m.floats(rows * columns).data as Float32Array, [rows, columns]);
const ids = (m: Making, n: number) => Array.from({ length: n }, () => m.int(0, VOCAB - 1));

function sizes(m: Making) {
  const [tokens, sequences] = [m.int(0, 12), m.int(1, 4)];
  return { tokens, sequences, offsets: m.offsets(sequences, tokens) };
}

function lossOptions(m: Making, tokens: number, sequences: number, offsets: number[]) {
  return {
    advantages: floats(m, m.chance(0.5) ? tokens : sequences),
    cuSeqlens: integers(m, offsets),
    oldLogProbs: m.maybe(() => floats(m, tokens, logProb(m))),
    refLogProbs: floats(m, tokens, logProb(m)),
    mask: m.maybe(() =>
      integers(
        m,
        Array.from({ length: tokens }, () => m.int(0, 1)),
      ),
    ),
    lossType: m.of(['dapo', 'grpo', 'bnpo', 'luspo', 'cispo', 'sapo', 'raft']),
    beta: m.of([0, 0.1]),
    klEstimator: m.of(['k1', 'k2', 'k3']),
    normalizer: undefined,
  };
}

/** Tokens of responses, and where their steps begin. */
function steps(m: Making) {
  const lengths = Array.from({ length: m.int(1, 4) }, () => m.int(0, 5));
  const sum = (list: number[]) => [...cumulative(list)];
  const cuSeqlens = sum(lengths);
  const cuSteps = [
    ...cuSeqlens.slice(0, -1).flatMap((begin, i) => Array.from({ length: lengths[i] }, (_, k) => begin + k)),
    cuSeqlens[lengths.length],
  ];
  return { responses: lengths.length, tokens: cuSeqlens[lengths.length], cuSeqlens, cuSteps };
}

function batch(m: Making) {
  const sequences = m.int(1, 3);
  const prompts = Array.from({ length: sequences }, () => ids(m, m.int(1, 5)));
  const completions = Array.from({ length: sequences }, () => ids(m, m.int(0, 5)));
  return { prompts, completions, advantages: floats(m, sequences) };
}

const update = { learningRate: 1e-3, microBatchTokens: 64, gradientCheckpointing: false, maxGradNorm: 1 };
const NAME = 'model.norm.weight';

/** Steps of responses as a PRM takes them. */
function stepBatch(m: Making) {
  const { prompts, completions } = batch(m);
  const cuSteps = splitSteps(completions, { kind: 'length', length: 2 });
  return { prompts, completions, cuSteps };
}
function encoded(m: Making, rows: number) {
  const [hidden, features] = [m.floats(rows * 8), m.floats(rows * 6)].map(({ data }) => data as Float32Array);
  return { steps: rows, hidden, features, tokens: 1 };
}

const shaped = (m: Making) => {
  const shape = [m.int(0, 4), m.int(0, 4)];
  const dtype = m.of(['float32', 'bfloat16', 'float16', 'int32'] as const);
  return { shape, options: { dtype } };
};

export const PUBLIC_CALLS: Record<string, PublicCall> = {
  tokenLogProbs: {
    make: (m) => {
      const [rows, vocab] = [m.int(0, 6), m.int(1, 20)];
      const targets = integers(
        m,
        Array.from({ length: rows }, () => m.int(0, vocab - 1)),
      );
      return { logits: matrix(m, rows, vocab), targets, options: { temperature: 0.7 } };
    },
    call: (a) => tokenLogProbs(a.logits, a.targets, a.options),
  },
  policyLoss: {
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      const entropy = m.maybe(() => floats(m, tokens, () => m.next()));
      return { logProbs: floats(m, tokens, logProb(m)), entropy, ...lossOptions(m, tokens, sequences, offsets) };
    },
    call: policyLoss,
  },
  policyLossFromLogits: {
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      const targets = integers(m, ids(m, tokens));
      const gradient = m.of([undefined, false]);
      const topEntropyQuantile = m.of([undefined, 0.5]);
      return {
        ...{ logits: matrix(m, tokens, VOCAB), targets, temperature: 1.2, gradient, topEntropyQuantile },
        ...lossOptions(m, tokens, sequences, offsets),
      };
    },
    call: policyLossFromLogits,
  },
  linearLogProbs: {
    make: (m) => {
      const { tokens } = sizes(m);
      const given = { hidden: matrix(m, tokens, 5), head: matrix(m, VOCAB, 5), targets: integers(m, ids(m, tokens)) };
      return { ...given, temperature: 1, workspaceBytes: undefined };
    },
    call: linearLogProbs,
  },
  linearPolicyLoss: {
    outputs: ['dHead'],
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      const given = { hidden: matrix(m, tokens, 5), head: matrix(m, VOCAB, 5), targets: integers(m, ids(m, tokens)) };
      const dHead = matrix(m, VOCAB, 5);
      return { ...given, dHead, accumulate: m.chance(0.5), ...lossOptions(m, tokens, sequences, offsets) };
    },
    call: linearPolicyLoss,
  },
  groupAdvantages: {
    make: (m) => {
      const n = m.int(0, 8);
      const groupIds = integers(
        m,
        Array.from({ length: n }, () => m.int(-2, 2)),
      );
      const options = {
        kind: m.of(['grpo', 'dr_grpo', 'rloo']),
        std: m.of(['sample', 'population', 'none']),
        epsilon: 1e-4,
      };
      return { rewards: numbers(m, n), groupIds, options };
    },
    call: (a) => groupAdvantages(a.rewards, a.groupIds, a.options),
  },
  outcomeConditionedCenter: {
    make: (m) => {
      const n = m.int(0, 8);
      const groupIds = integers(
        m,
        Array.from({ length: n }, () => m.int(-2, 2)),
      );
      const correct = Array.from({ length: n }, () => m.chance(0.5));
      return { scores: numbers(m, n), correct, groupIds, options: { center: m.of(['incorrect', 'both']) } };
    },
    call: (a) => outcomeConditionedCenter(a.scores, a.correct, a.groupIds, a.options),
  },
  importanceWeights: {
    make: (m) => {
      const { tokens, offsets } = sizes(m);
      const [oldLogProbs, rolloutLogProbs] = [numbers(m, tokens, logProb(m)), numbers(m, tokens, logProb(m))];
      const mode = m.of(['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask']);
      return {
        oldLogProbs,
        rolloutLogProbs,
        cuSeqlens: integers(m, offsets),
        mode,
        clipMin: 0,
        clipMax: m.of([3, Infinity]),
      };
    },
    call: importanceWeights,
  },
  prlAdvantages: {
    outputs: ['out'],
    make: (m) => {
      const { responses, tokens, cuSeqlens, cuSteps } = steps(m);
      return {
        ...{ outcomeAdvantages: numbers(m, responses), oldLogProbs: numbers(m, tokens, logProb(m)) },
        ...{ refLogProbs: numbers(m, tokens, logProb(m)), cuSeqlens: integers(m, cuSeqlens) },
        ...{ cuSteps: integers(m, cuSteps), eta: 100, suffix: m.of(['inclusive', 'exclusive']) },
        out: m.maybe(() => Tensor.zeros([tokens])),
      };
    },
    call: prlAdvantages,
  },
  frpoAdvantages: {
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      return {
        ...{ outcomeAdvantages: numbers(m, sequences), oldLogProbs: numbers(m, tokens, logProb(m)) },
        ...{ refLogProbs: numbers(m, tokens, logProb(m)), cuSeqlens: integers(m, offsets), beta: 0.01 },
        ...{ estimator: m.of(['k1', 'k3']), direction: m.of(['reverse', 'forward']), baseline: false },
      };
    },
    call: frpoAdvantages,
  },
  progrsAdvantages: {
    make: (m) => {
      const { responses, cuSeqlens, cuSteps } = steps(m);
      const list = (value: () => number) => Array.from({ length: responses }, value);
      return {
        ...{ outcomeAdvantages: numbers(m, responses), stepScores: numbers(m, cuSteps.length - 1, () => m.next()) },
        ...{
          correct: integers(
            m,
            list(() => m.int(0, 1)),
          ),
          groupIds: integers(
            m,
            list(() => m.int(0, 1)),
          ),
        },
        ...{ cuSeqlens: integers(m, cuSeqlens), cuSteps: integers(m, cuSteps), lambda: 0.5 },
        ...{ center: m.of(['incorrect', 'both', 'none']), granularity: m.of(['response', 'step']) },
      };
    },
    call: progrsAdvantages,
  },
  coherence: {
    make: (m) => {
      const { tokens, offsets } = sizes(m);
      const options = { windows: m.of([[1], [2, 3], [9]]), lambdaVar: 1 };
      return { stepScores: numbers(m, tokens, () => m.next()), cuScores: integers(m, offsets), options };
    },
    call: (a) => coherence(a.stepScores, a.cuScores, a.options),
  },
  quantileLoss: {
    make: (m) => {
      const rows = m.int(1, 6);
      return { values: matrix(m, rows, 3), targets: numbers(m, rows), options: { quantiles: [0.1, 0.5, 0.9] } };
    },
    call: (a) => quantileLoss(a.values, a.targets, a.options),
  },
  topEntropyThreshold: {
    make: (m) => {
      const n = m.int(0, 9);
      return { entropies: m.floats(n, () => m.next()).data, topEntropyQuantile: 0.4, mask: m.maybe(() => ids(m, n)) };
    },
    call: (a) => topEntropyThreshold(a.entropies, a.topEntropyQuantile, a.mask),
  },
  splitSteps: {
    make: (m) => {
      const text = m.chance(0.5);
      const piece = () => m.of(['a', '\n', '.\n\n', 'b\n', '']);
      const responses = Array.from({ length: m.int(0, 3) }, () =>
        ids(m, m.int(0, 6)).map((id) => (text ? piece() : id)),
      );
      const split = text
        ? m.of([{ kind: 'newline' }, { kind: 'blankLine' }, { kind: 'strings', strings: ['b', '\n'] }])
        : m.of([
            { kind: 'length', length: 2 },
            { kind: 'tokens', tokens: [1, 2] },
          ]);
      return { responses, split: { ...split } };
    },
    call: (a) => splitSteps(a.responses, a.split),
  },
  stepsOfResponses: {
    make: (m) => {
      const { cuSeqlens, cuSteps } = steps(m);
      return { cuSteps, cuSeqlens };
    },
    call: (a) => stepsOfResponses(a.cuSteps, a.cuSeqlens),
  },
  'Tensor.from': {
    make: (m) => {
      const { shape, options } = shaped(m);
      return { data: Array.from({ length: shape[0] * shape[1] }, () => m.int(0, 99)), shape, options };
    },
    call: (a) => Tensor.from(a.data, a.shape, a.options),
  },
  'Tensor.zeros': { make: shaped, call: (a) => Tensor.zeros(a.shape, a.options) },
  'Tensor.empty': { make: shaped, call: (a) => Tensor.empty(a.shape, a.options).shape },
  'Policy.create': {
    make: () => ({ config: { ...config }, options: { seed: 1 } }),
    call: (a) => Policy.create(a.config, a.options).parameterCount,
  },
  'policy.generate': {
    make: (m) => ({
      policy: policyOf(m),
      prompts: batch(m).prompts,
      options: {
        n: m.int(1, 2),
        maxNewTokens: m.int(1, 4),
        temperature: 1,
        topK: 0,
        topP: 1,
        seed: m.int(0, 9),
        stop: [0],
      },
    }),
    call: (a) => a.policy.generate(a.prompts, a.options),
  },
  'policy.logProbs': {
    make: (m) => ({
      policy: policyOf(m),
      sequences: batch(m).prompts,
      options: { temperature: 1, entropy: m.chance(0.5) },
    }),
    call: (a) => a.policy.logProbs(a.sequences, a.options),
  },
  'policy.logits': {
    make: (m) => ({ policy: policyOf(m), sequence: ids(m, m.int(1, 6)) }),
    call: (a) => a.policy.logits(a.sequence),
  },
  'policy.computeGradients': {
    make: (m) => ({ policy: policyOf(m), batch: batch(m), options: { temperature: 1, beta: 0 } }),
    call: (a) => a.policy.computeGradients(a.batch, a.options),
  },
  'policy.update': {
    make: (m) => ({ policy: policyOf(m), batch: batch(m), options: { ...update } }),
    call: (a) => a.policy.update(a.batch, a.options),
  },
  'policy.readParameter': {
    make: (m) => ({ policy: policyOf(m), name: NAME }),
    call: (a) => a.policy.readParameter(a.name),
  },
  'policy.writeParameter': {
    make: (m) => ({ policy: policyOf(m), name: NAME, values: floats(m, 8) }),
    call: (a) => a.policy.writeParameter(a.name, a.values),
  },
  'policy.clone': { make: (m) => ({ policy: policyOf(m) }), call: (a) => a.policy.clone().parameterCount },
  'policy.resetOptimizer': { make: (m) => ({ policy: policyOf(m) }), call: (a) => a.policy.resetOptimizer() },
  'policy.dispose': { make: (m) => ({ policy: policyOf(m) }), call: (a) => a.policy.dispose() },
  'prm.encode': { make: (m) => ({ prm: prmOf(m), batch: stepBatch(m) }), call: (a) => a.prm.encode(a.batch) },
  'prm.score': { make: (m) => ({ prm: prmOf(m), batch: stepBatch(m) }), call: (a) => a.prm.score(a.batch) },
  'prm.predict': {
    make: (m) => ({ prm: prmOf(m), encoded: encoded(m, m.int(0, 4)) }),
    call: (a) => a.prm.predict(a.encoded),
  },
  'prm.update': {
    make: (m) => {
      const rows = m.int(1, 4);
      return {
        prm: prmOf(m),
        encoded: encoded(m, rows),
        targets: m.floats(rows, () => m.next()).data,
        options: { learningRate: 1e-3 },
      };
    },
    call: (a) => a.prm.update(a.encoded, a.targets, a.options),
  },
  'prm.dispose': { make: (m) => ({ prm: prmOf(m) }), call: (a) => a.prm.dispose() },
};
