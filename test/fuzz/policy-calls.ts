// Valid arguments of the addon's functions on policies and quantile heads.
import { lossParams } from '../../lib/kernels/loss-options.js';
import { native } from '../../lib/kernels/native.js';
import type { AddonCall } from './kernel-calls.js';
import type { Making } from './making.js';

const VOCAB = 11;
const HIDDEN = 8;
const POSITIONS = 64;
const FEATURES = 2;
const NAME = 'model.layers.0.mlp.down_proj.weight';
const ELEMENTS = HIDDEN * 6;

const config = (m: Making) => ({
  ...{
    vocab: VOCAB,
    hidden: HIDDEN,
    intermediate: 6,
    layers: 1,
    heads: 2,
    kvHeads: 1,
    headDim: 4,
    maxPositions: POSITIONS,
  },
  ...{ normEps: 1e-6, qkvBias: true, oBias: true, mlpBias: true, qkNorm: true, tied: false, ropeFactor: 1 },
  invFreq: m.floats(2, (i) => 0.1 ** i),
  dtype: 'float32',
});

/** The policies and heads that the fuzz uses, abuses and disposes of. */
const pool: { policies: object[]; heads: object[] } = { policies: [], heads: [] };

function newPolicy(m: Making): object {
  const policy = native().policyCreate({ ...config(m), invFreq: cpu(m).floats(2, (i) => 0.1 ** i) });
  native().policyInit({ policy, seed: 1 });
  return policy;
}

function newHead(m: Making): object {
  const head = native().quantileHeadCreate({ hidden: HIDDEN, features: FEATURES, width: 3, quantiles: [0.2, 0.7] });
  const write = (name: string, values: number[]) =>
    native().quantileHeadWrite({ head, arena: 0, name, data: cpu(m).floats(values.length, (i) => values[i]) });
  write('features.deviation', [1, 2]);
  write(
    'hidden.weight',
    Array.from({ length: 3 * (HIDDEN + FEATURES) }, (_, i) => Math.sin(i)),
  );
  write('output.weight', [1, -1, 0.5, 0.25, -0.5, 2]);
  return head;
}

/** Policies live on the CPU, whatever device is fuzzed. */
const cpu = (m: Making): Making => Object.create(m, { device: { value: 'cpu' } });

function pooled(m: Making, list: object[], make: (m: Making) => object): object {
  if (m.known) return make(m);
  const i = m.int(0, 2);
  if (list[i] === undefined || m.chance(0.05)) list[i] = make(m);
  return list[i];
}
const policyOf = (m: Making) => pooled(m, pool.policies, newPolicy);
const headOf = (m: Making) => pooled(m, pool.heads, newHead);

/** Something to do to the pool in the middle of another call. */
export function disturb(m: Making): void {
  const policy = policyOf(m);
  m.of([
    () => native().policyDispose({ policy }),
    () => native().policyCancel({ policy }),
    () => native().policyResetOptimizer({ policy }),
    () =>
      native()
        .policyLogits({ policy, ...sequence(m, 1) })
        .catch(() => {}),
  ])();
}

function sequence(m: Making, sequences: number) {
  const tokens = m.int(sequences, 20);
  const ids = cpu(m).ints(tokens, () => m.int(0, VOCAB - 1));
  return { ids, cuSeqlens: cpu(m).packed(m.offsets(sequences, tokens, 1)) };
}

function scoring(m: Making) {
  const sequences = m.int(1, 4);
  const { ids, cuSeqlens } = sequence(m, sequences);
  const lengths = Array.from({ length: sequences }, (_, i) => cuSeqlens.data![i + 1] - cuSeqlens.data![i]);
  const starts = lengths.map((length) => m.int(1, length));
  const scored = lengths.reduce((sum, length, i) => sum + length - starts[i], 0);
  const start = cpu(m).packed(starts);
  const fields = { policy: policyOf(m), ids, cuSeqlens, start, temperature: 0.9, microBatchTokens: m.of([1, 8, 4096]) };
  return { fields, sequences, scored };
}

const optimizer = {
  ...{ learningRate: 1e-3, weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.99, adamEpsilon: 1e-8 },
  maxGradNorm: 1,
};

const loss = {
  ...lossParams(
    { entropyCoef: 0.01, maxCompletionLength: 8, normalizer: { tokens: 10, sequences: 2 } },
    { tokens: 10, sequences: 2 },
  ),
};

function rows(m: Making, n = m.int(1, 7)) {
  return {
    hidden: cpu(m).floats(n * HIDDEN),
    features: cpu(m).floats(n * FEATURES),
    targets: cpu(m).floats(n, () => m.next()),
  };
}

const named = (m: Making) => ({ policy: policyOf(m), arena: 0, name: NAME });
const onPolicy = { make: (m: Making) => ({ policy: policyOf(m) }) };

/** @param file of ELEMENTS float32 numbers, open for reading */
export const policyCalls = (file: number): Record<string, AddonCall> => ({
  policyCreate: {
    make: (m) => config(cpu(m)),
    costly: ['vocab', 'hidden', 'intermediate', 'layers', 'heads', 'kvHeads', 'headDim'],
  },
  policyMemory: {
    make: (m) => ({
      ...config(cpu(m)),
      ...{ bfloat16: m.chance(0.5), training: m.chance(0.5), gradientCheckpointing: m.chance(0.5) },
      ...{
        microBatchTokens: m.int(1, 99),
        maxBatch: m.int(0, 9),
        promptTokens: m.int(0, 9),
        maxNewTokens: m.int(0, 9),
      },
    }),
  },
  policyInit: { make: (m) => ({ policy: policyOf(m), seed: m.int(0, 99) }) },
  policyClone: onPolicy,
  policyDispose: onPolicy,
  policyCancel: onPolicy,
  policyParameters: onPolicy,
  policyResetOptimizer: onPolicy,
  policySteps: { make: (m) => ({ policy: policyOf(m), steps: m.int(0, 5) }) },
  policyRead: {
    outputs: ['out'],
    make: (m) => {
      const first = m.int(0, ELEMENTS);
      return { ...named(m), first, out: cpu(m).out(m.int(0, ELEMENTS - first)) };
    },
  },
  policyWrite: { make: (m) => ({ ...named(m), data: cpu(m).floats(ELEMENTS) }) },
  policyLoad: { make: (m) => ({ ...named(m), fd: file, offset: 0, dtype: 'F32' }), costly: ['fd'] },
  policyLogProbs: { make: (m) => ({ ...scoring(m).fields, entropy: m.chance(0.5) }) },
  policyLogits: { make: (m) => ({ policy: policyOf(m), ...sequence(m, 1) }) },
  policyGenerate: {
    // Its answer is checked with others of the same seed; onProgress may or may not be called.
    make: (m) => {
      const prompts = m.int(1, 3);
      return {
        policy: policyOf(m),
        ...sequence(m, prompts),
        ...{ n: m.int(1, 3), maxNewTokens: m.int(1, 6), maxBatch: m.of([0, 1, 2]), mostBatch: m.of([1, 8]) },
        ...{ temperature: m.of([0, 1]), topK: m.of([0, 3]), topP: m.of([1, 0.8]) },
        seeds: cpu(m).ints(2 * prompts, () => m.int(-9, 9)),
        streams: cpu(m).ints(prompts, () => m.int(0, 9)),
        stop: cpu(m).ints(m.int(0, 2), () => m.int(0, VOCAB - 1)),
        onProgress: m.of([undefined, () => {}]),
      };
    },
    costly: ['n', 'maxNewTokens'],
  },
  policyUpdate: {
    make: (m) => {
      const { fields, sequences, scored } = scoring(m);
      const advantagesPerToken = m.chance(0.5);
      return {
        ...fields,
        advantagesPerToken,
        advantages: cpu(m).floats(advantagesPerToken ? scored : sequences),
        oldLogProbs: m.maybe(() => cpu(m).logProbs(scored)),
        mask: m.maybe(() => cpu(m).ints(scored, () => m.int(0, 1))),
        gradientCheckpointing: m.chance(0.5),
        ...loss,
        step: m.chance(0.5),
        ...optimizer,
      };
    },
  },
  policyStepStates: {
    make: (m) => {
      const { fields, scored } = scoring(m);
      const ends = Array.from({ length: scored }, (_, i) => i).filter(() => m.chance(0.3));
      return { ...fields, stepEnds: cpu(m).packed(ends), hidden: m.chance(0.7), logProbs: m.chance(0.7) };
    },
  },
  quantileHeadCreate: {
    make: () => ({ hidden: HIDDEN, features: FEATURES, width: 3, quantiles: [0.2, 0.7] }),
    costly: ['hidden', 'features', 'width'],
  },
  quantileHeadParameters: { make: (m) => ({ head: headOf(m) }) },
  quantileHeadRead: {
    outputs: ['out'],
    make: (m) => ({ head: headOf(m), arena: 0, name: 'hidden.bias', out: cpu(m).out(3) }),
  },
  quantileHeadWrite: { make: (m) => ({ head: headOf(m), arena: 0, name: 'hidden.bias', data: cpu(m).floats(3) }) },
  quantileHeadScore: {
    make: (m) => {
      const { targets: _, ...inputs } = rows(m);
      return { policy: policyOf(m), head: headOf(m), ...inputs };
    },
  },
  quantileHeadUpdate: {
    make: (m) => ({ policy: policyOf(m), head: headOf(m), ...rows(m), step: m.chance(0.5), ...optimizer }),
  },
  quantileHeadFinetune: {
    make: (m) => {
      const { fields, scored } = scoring(m);
      const ends = Array.from({ length: scored }, (_, i) => i).filter(() => m.chance(0.3));
      const { features, targets } = rows(m, ends.length);
      const step = m.chance(0.5);
      return {
        ...fields,
        head: headOf(m),
        stepEnds: cpu(m).packed(ends),
        features,
        targets,
        step,
        ...optimizer,
        backboneLearningRate: 1e-4,
      };
    },
  },
});
export { ELEMENTS };
