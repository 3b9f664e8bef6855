// Valid arguments of the addon's kernels. Sizes are small, so that a call takes microseconds.
import { PrlError } from '../../lib/index.js';
import type { Making, RawDType } from './making.js';

/** One function of the addon, and how to make arguments that it must accept. */
export interface AddonCall {
  make(m: Making): Record<string, unknown>;
  /** Fields that it writes. */
  outputs?: string[];
  /** Fields where a legal number can cost minutes or gigabytes: they get illegal ones only. */
  costly?: string[];
  /** Says no to every argument where there is no GPU. */
  gpuOnly?: boolean;
  /** No arguments are right that one process can make by itself. */
  unanswered?: boolean;
  /** What a valid call gives differs from call to call. */
  varies?: boolean;
}

function lossFields(m: Making, tokens: number, sequences: number, offsets: number[]) {
  const advantagesPerToken = m.chance(0.5);
  return {
    cuSeqlens: m.packed(offsets),
    advantagesPerToken,
    advantages: m.floats(advantagesPerToken ? tokens : sequences),
    oldLogProbs: m.maybe(() => m.logProbs(tokens)),
    refLogProbs: m.logProbs(tokens),
    importanceWeights: m.maybe(() => m.floats(tokens, () => m.next())),
    rolloutLogProbs: m.maybe(() => m.logProbs(tokens)),
    mask: m.maybe(() => m.ints(tokens, () => m.int(0, 1))),
    surrogate: m.int(0, 4),
    importanceSamplingLevel: m.int(0, 1),
    aggregation: m.int(0, 3),
    klEstimator: m.int(0, 2),
    epsilon: 0.2,
    epsilonHigh: 0.3,
    delta: m.of([4, Infinity]),
    sapoTemperaturePos: 1,
    sapoTemperatureNeg: 1.05,
    vespoKPos: 2,
    vespoKNeg: 3,
    vespoLambdaPos: 3,
    vespoLambdaNeg: 2,
    offPolicyMaskThreshold: m.of([1, Infinity]),
    entropyThreshold: -Infinity,
    beta: m.of([0, 0.1]),
    klRatioCorrection: m.chance(0.5),
    entropyCoef: 0,
    normTokens: Math.max(1, tokens),
    normSequences: Math.max(1, sequences),
    maxCompletionLength: 8,
  };
}

/** Tokens in sequences. */
function sizes(m: Making) {
  const [tokens, sequences] = [m.int(0, 12), m.int(1, 4)];
  return { tokens, sequences, offsets: m.offsets(sequences, tokens) };
}

const storage = (m: Making): RawDType => m.of(['float32', 'bfloat16', 'float16']);
const logitsOf = (m: Making, tokens: number, vocab: number, dtype: RawDType) =>
  m.tensor(dtype, [tokens, vocab], () => 2 * m.normal());

function linearFields(m: Making, tokens: number) {
  const [width, vocab] = [m.int(1, 9), m.int(1, 20)];
  const fields = {
    hidden: m.tensor('float32', [tokens, width], () => m.normal()),
    head: m.tensor('float32', [vocab, width], () => m.normal()),
    targets: m.ints(tokens, () => m.int(0, vocab - 1)),
    temperature: 0.7,
    workspaceBytes: m.of([2 ** 14, 2 ** 20]),
    logProbs: m.out(tokens),
    entropy: m.out(tokens),
  };
  return { fields, width, vocab };
}

export const KERNEL_CALLS: Record<string, AddonCall> = {
  initialize: { make: () => PrlError as never },
  info: { make: () => ({}), varies: true },
  externalMemory: { make: () => ({}), varies: true },
  setThreads: { make: (m) => ({ threads: m.int(1, 3) }), costly: ['threads'] },
  trimMemory: { make: () => ({}) },
  gemm: {
    outputs: ['c'],
    make: (m) => {
      const [rows, n, k] = [m.int(0, 9), m.int(0, 9), m.int(0, 9)];
      return {
        ...{ m: rows, n, k, transposeA: m.chance(0.5), transposeB: m.chance(0.5), accumulate: m.chance(0.5) },
        pack: m.chance(0.5),
        ...{ a: m.floats(rows * k), b: m.floats(k * n), c: m.floats(rows * n) },
      };
    },
  },
  copy: {
    outputs: ['to'],
    make: (m) => {
      const n = m.int(0, 30);
      return { from: m.floats(n), to: m.out(n) };
    },
  },
  fill: { outputs: ['to'], make: (m) => ({ to: m.out(m.int(0, 30)), byte: m.int(0, 255) }) },
  tokenLogprob: {
    outputs: ['logProbs', 'entropy', 'logSumExp'],
    make: (m) => {
      const [rows, vocab] = [m.int(0, 9), m.int(1, 40)];
      return {
        logits: logitsOf(m, rows, vocab, storage(m)),
        targets: m.ints(rows, () => m.int(0, vocab - 1)),
        temperature: 0.7,
        mask: m.maybe(() => m.ints(rows, () => m.int(0, 1))),
        logProbs: m.out(rows),
        entropy: m.maybe(() => m.out(rows)),
        logSumExp: m.maybe(() => m.out(rows)),
      };
    },
  },
  tokenLogprobBackward: {
    outputs: ['dLogits'],
    make: (m) => {
      const [rows, vocab, dtype] = [m.int(0, 9), m.int(1, 40), storage(m)];
      return {
        logits: logitsOf(m, rows, vocab, dtype),
        targets: m.ints(rows, () => m.int(0, vocab - 1)),
        temperature: 0.7,
        mask: m.maybe(() => m.ints(rows, () => m.int(0, 1))),
        dLogProbs: m.floats(rows),
        dEntropy: m.maybe(() => m.floats(rows)),
        dLogits: logitsOf(m, rows, vocab, dtype),
      };
    },
  },
  clippedLoss: {
    outputs: ['dLogProbs', 'dEntropy'],
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      return {
        logProbs: m.logProbs(tokens),
        entropy: m.maybe(() => m.floats(tokens, () => m.next())),
        ...lossFields(m, tokens, sequences, offsets),
        dLogProbs: m.out(tokens),
        dEntropy: m.maybe(() => m.out(tokens)),
      };
    },
  },
  policyLoss: {
    outputs: ['logProbs', 'entropy', 'dLogits'],
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      const [vocab, dtype] = [m.int(1, 40), storage(m)];
      const logits = logitsOf(m, tokens, vocab, dtype);
      return {
        logits,
        targets: m.ints(tokens, () => m.int(0, vocab - 1)),
        temperature: 1.3,
        ...lossFields(m, tokens, sequences, offsets),
        logProbs: m.out(tokens),
        entropy: m.out(tokens),
        dLogits: m.of([undefined, logitsOf(m, tokens, vocab, dtype)]),
      };
    },
  },
  linearLogprob: {
    outputs: ['logProbs', 'entropy'],
    costly: ['workspaceBytes'],
    make: (m) => {
      const { tokens } = sizes(m);
      return { ...linearFields(m, tokens).fields, mask: m.maybe(() => m.ints(tokens, () => m.int(0, 1))) };
    },
  },
  linearPolicyLoss: {
    outputs: ['logProbs', 'entropy', 'dHidden', 'dHead'],
    costly: ['workspaceBytes'],
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      const { fields, width, vocab } = linearFields(m, tokens);
      return {
        ...fields,
        ...lossFields(m, tokens, sequences, offsets),
        dHidden: m.tensor('float32', [tokens, width], () => 0),
        dHead: m.tensor('float32', [vocab, width], () => m.normal()),
        accumulate: m.chance(0.5),
      };
    },
  },
  stepReward: {
    outputs: ['out'],
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      // A step may end where its sequence does.
      const steps = [...new Set([...offsets, ...m.offsets(3, tokens)])].sort((a, b) => a - b);
      return {
        oldLogProbs: m.logProbs(tokens),
        refLogProbs: m.logProbs(tokens),
        outcomeAdvantages: m.floats(sequences),
        cuSeqlens: m.packed(offsets),
        cuSteps: m.maybe(() => m.packed(steps)),
        ...{ generator: 0, scale: 0.1, inclusive: true, baseline: false },
        out: m.out(tokens),
      };
    },
  },
  groupAdvantage: {
    outputs: ['advantages'],
    make: (m) => {
      const [responses, groups] = [m.int(1, 9), 3];
      return {
        rewards: m.floats(responses),
        group: m.ints(responses, () => m.int(0, Math.min(groups, responses) - 1)),
        groups: Math.min(groups, responses),
        ...{ centering: m.int(0, 2), population: m.chance(0.5), batchDeviation: m.chance(0.5), epsilon: 1e-4 },
        singletonRaw: m.chance(0.5),
        advantages: m.out(responses),
      };
    },
  },
  outcomeCenter: {
    outputs: ['centered'],
    make: (m) => {
      const responses = m.int(1, 9);
      return {
        scores: m.floats(responses),
        correct: m.ints(responses, () => m.int(0, 1)),
        group: m.ints(responses, () => m.int(0, Math.min(2, responses - 1))),
        groups: Math.min(3, responses),
        centerCorrect: m.chance(0.5),
        centered: m.out(responses),
      };
    },
  },
  coherence: {
    outputs: ['coherence'],
    make: (m) => {
      const { tokens, sequences, offsets } = sizes(m);
      return {
        windows: m.of([[1], [2, 3, 5], [7, 7]]),
        lambdaVar: 1,
        stepScores: m.floats(tokens, () => m.next()),
        cuScores: m.packed(offsets),
        coherence: m.out(sequences),
      };
    },
  },
  importanceWeight: {
    outputs: ['weights'],
    make: (m) => {
      const { tokens, offsets } = sizes(m);
      return {
        oldLogProbs: m.logProbs(tokens),
        rolloutLogProbs: m.logProbs(tokens),
        cuSeqlens: m.packed(offsets),
        mask: m.maybe(() => m.ints(tokens, () => m.int(0, 1))),
        ...{ level: m.int(0, 1), bound: m.int(0, 1), clipMin: 0, clipMax: m.of([undefined, 3]) },
        weights: m.out(tokens),
      };
    },
  },
  quantileLoss: {
    outputs: ['dValues'],
    make: (m) => {
      const rows = m.int(1, 9);
      return {
        quantiles: [0.1, 0.5, 0.9],
        normRows: m.of([0, 20]),
        values: m.tensor('float32', [rows, 3], () => m.normal()),
        targets: m.floats(rows),
        dValues: m.tensor('float32', [rows, 3], () => 0),
      };
    },
  },
};
