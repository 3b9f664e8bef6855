// From rewards to token advantages, at a batch of 128 prompts x 8 responses.
import { frpoAdvantages, groupAdvantages, prlAdvantages, splitSteps } from '../lib/index.js';
import type { BenchDevice } from './device.js';
import type { Contestant, Group, Prepared } from './harness.js';
import { agree, normal, ROUNDOFF, type Scale } from './inputs.js';

const GROUP = 8;
const STEP = 256;
const ETA = 200;
const BETA = 0.01;
/** The value of verl and PRL, added to the deviation. */
const EPSILON = 1e-6;
const u = ROUNDOFF.float32;

interface Rollout {
  lengths: Int32Array;
  cuSeqlens: Int32Array;
  groupIds: Int32Array;
  rewards: Float32Array;
  oldLogProbs: Float32Array;
  refLogProbs: Float32Array;
}

export const advantageGroups = ({ tiny }: Scale): Group[] => {
  const [responses, longest] = tiny ? [16, 600] : [1024, 3072];
  const shapes: [string, (i: number) => number][] = [
    [`${responses} x ${longest}`, () => longest],
    // Evenly spread from a twelfth to the full length.
    [`${responses} x up to ${longest}`, (i) => Math.ceil((longest * (1 + ((i * 7) % 12))) / 12)],
  ];
  return shapes.flatMap(([shape, length]) => [
    {
      name: `advantages prl ${shape}`,
      setup: (device: BenchDevice) => prepare(device, 'prl', rollout(responses, length)),
    },
    {
      name: `advantages frpo ${shape}`,
      setup: (device: BenchDevice) => prepare(device, 'frpo', rollout(responses, length)),
    },
    {
      name: `advantages grpo ${shape}`,
      setup: (device: BenchDevice) => prepare(device, 'grpo', rollout(responses, length)),
    },
  ]);
};

function rollout(responses: number, length: (i: number) => number): Rollout {
  const lengths = Int32Array.from({ length: responses }, (_, i) => length(i));
  const cuSeqlens = new Int32Array(responses + 1);
  for (let i = 0; i < responses; i++) cuSeqlens[i + 1] = cuSeqlens[i] + lengths[i];
  const tokens = cuSeqlens[responses];
  const oldLogProbs = Float32Array.from({ length: tokens }, (_, t) => -Math.abs(normal(t)));
  return {
    lengths,
    cuSeqlens,
    groupIds: Int32Array.from({ length: responses }, (_, i) => Math.floor(i / GROUP)),
    rewards: Float32Array.from({ length: responses }, (_, i) => ((i * 31) % 11 < 5 ? 1 : 0)),
    oldLogProbs,
    refLogProbs: oldLogProbs.map((x, t) => x + 0.1 * normal(t + tokens)),
  };
}

async function prepare(device: BenchDevice, kind: 'prl' | 'frpo' | 'grpo', batch: Rollout): Promise<Prepared> {
  const { lengths, groupIds, rewards, oldLogProbs, refLogProbs, cuSeqlens } = batch;
  const tokens = oldLogProbs.length;
  const responses = Array.from(lengths, (n) => new Int32Array(n));
  const packed = {
    oldLogProbs: device.tensor(oldLogProbs),
    refLogProbs: device.tensor(refLogProbs),
    cuSeqlens: device.tensor(cuSeqlens),
  };
  const own = { rewards: device.tensor(rewards), groupIds: device.tensor(groupIds) };
  const outcome = () => groupAdvantages(own.rewards, own.groupIds, { epsilon: EPSILON, singleton: 'raw' });
  const out = device.buffer([tokens], 'float32');
  const pipeline = {
    prl: () =>
      prlAdvantages({
        ...packed,
        outcomeAdvantages: outcome(),
        cuSteps: device.tensor(splitSteps(responses, { kind: 'length', length: STEP })),
        eta: ETA,
        out,
      }),
    frpo: () => frpoAdvantages({ ...packed, outcomeAdvantages: outcome(), beta: BETA, out }),
    grpo: outcome,
  }[kind];
  const name = {
    prl: `groupAdvantages + splitSteps + prlAdvantages`,
    frpo: 'groupAdvantages + frpoAdvantages',
    grpo: 'groupAdvantages',
  }[kind];
  const contestant: Contestant = {
    name,
    run: () => void pipeline(),
    // Two log-probabilities in, an advantage out. With GRPO: a reward and a group in, an advantage out, per response.
    traffic: 12 * (kind === 'grpo' ? lengths.length : tokens),
    versusPeers: true,
  };
  return {
    contestants: [contestant],
    peers: {
      kind: 'advantages',
      parameters: { kind, step: STEP, eta: ETA, beta: BETA, epsilon: EPSILON },
      arrays: { lengths, groupIds, rewards, ...(kind !== 'grpo' && { oldLogProbs, refLogProbs }) },
      verify: agree({ advantages: { values: await pipeline().read(), absolute: error(kind, batch) } }),
    },
  };
}

/**
 * The peers compute a suffix sum in float32 as total - prefix + own. Each of up to L additions rounds a number as large
 * as the largest prefix, and roundings of both signs grow as the square root of L. The sum is multiplied by 1 / eta or
 * beta. The outcome advantage, up to the square root of the group's size, is a quotient of sums of a few terms.
 */
function error(kind: 'prl' | 'frpo' | 'grpo', { cuSeqlens, oldLogProbs, refLogProbs, lengths }: Rollout): number {
  let largest = 0;
  for (let i = 0; i < lengths.length; i++) {
    let prefix = 0;
    for (let t = cuSeqlens[i]; t < cuSeqlens[i + 1]; t++) {
      prefix += oldLogProbs[t] - refLogProbs[t];
      largest = Math.max(largest, Math.abs(prefix));
    }
  }
  const scale = { prl: 1 / ETA, frpo: BETA, grpo: 0 }[kind];
  return u * (4 * scale * largest * Math.sqrt(Math.max(...lengths)) + 16 * Math.sqrt(GROUP));
}
