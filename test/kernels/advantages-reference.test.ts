// Advantages against the stored values of test/fixtures/advantages. ref.* are the published PRL expressions in float32.
// exact.* and the group normalisations are the intended rules in float64. FRPO and PROGRS' centering are in float64.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  frpoAdvantages,
  groupAdvantages,
  outcomeConditionedCenter,
  prlAdvantages,
  type StepSplit,
  splitSteps,
} from '../../lib/index.js';
import { ON_GPU, place } from '../reference/device.js';
import { near, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { readSafetensors } from '../reference/safetensors.js';

interface Config {
  key: string;
  step_split: 'length' | 'n' | 'nn';
  step_len: number;
  eta: number;
  norm_by_std: boolean;
  rows_where_ref_differs: number[];
}

const folder = new URL('../fixtures/advantages/', import.meta.url);
const info = JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8')) as {
  newline_id: number;
  double_newline_id: number;
  sets: Record<'main' | 'edge', { configs: Config[] }>;
};

/** The tokens that take part, packed: rows of the edge set have holes, which then are not there at all. */
function load(set: 'main' | 'edge') {
  const stored = readSafetensors(new URL(`${set}.safetensors`, folder));
  const get = (name: string) => stored.get(name)!.data;
  const [rows, columns] = stored.get('mask')!.shape;
  const mask = get('mask');
  const kept = Array.from({ length: rows }, (_, i) =>
    Array.from({ length: columns }, (_, t) => i * columns + t).filter((at) => mask[at] !== 0),
  );
  const cuSeqlens = Int32Array.from([0, ...kept.map((_, i) => kept.slice(0, i + 1).flat().length)]);
  const pack = (name: string) => Float64Array.from(kept.flat(), (at) => get(name)[at]);
  return { get, kept, cuSeqlens, pack, rows, columns };
}

/** The first input of a call: on the GPU a tensor, which takes the call there. */
const here = (data: ArrayLike<number>) => (ON_GPU ? place(data) : data);
const grouped = (rewards: ArrayLike<number>, ids: ArrayLike<number>, options?: Parameters<typeof groupAdvantages>[2]) =>
  groupAdvantages(here(rewards), ids, options).read();

const suiteOf = suite('advantages against stored reference values');
let compared = 0;
for (const set of ['main', 'edge'] as const) {
  const { get, kept, cuSeqlens, pack, rows, columns } = load(set);
  const old = Float32Array.from(pack('old_logp'));
  const ref = Float32Array.from(pack('ref_logp'));
  const score = get('score') as Float32Array;
  const group = get('group') as Int32Array;

  const single = Array.from(group, (g) => group.filter((other) => other === g).length === 1);
  /** The published code divides the raw reward of a group of one by 1 + 1e-6. */
  const publishedOutcome = async (kind: 'grpo' | 'dr_grpo') =>
    Float32Array.from(await grouped(score, group, { kind, epsilon: 1e-6, singleton: 'raw' }), (a, i) =>
      kind === 'grpo' && single[i] ? a / (1 + 1e-6) : a,
    );

  suiteOf(`${set}: groupAdvantages agrees with the stored normalisations`, async () => {
    const nonEmpty = (values: ArrayLike<number>, i: number) => (kept[i].length ? values[i] : 0);
    const check = (name: string, out: ArrayLike<number>) => {
      const expected = get(name);
      // The intended rule in double, rounded once; where equal rewards leave a 1 ulp remainder in double, ours is
      // exactly 0.
      near(out, expected, 1e-12, name, 1.01 * UNIT_ROUNDOFF.float32);
      compared += out.length;
    };
    const advantages = (options: Parameters<typeof groupAdvantages>[2]) => grouped(score, group, options);
    check('grpo.exact', await publishedOutcome('grpo'));
    check('drgrpo.exact', await publishedOutcome('dr_grpo'));
    check('rloo.exact', await advantages({ kind: 'rloo', singleton: 'raw' }));
    check('grpo_trl.exact', await advantages({ epsilon: 1e-4 }));
    check('grpo_population.exact', await advantages({ epsilon: 1e-6, std: 'population' }));
    // What the published code computes in float32; its mean rounds, and it shows 0 for an empty response.
    const published = await publishedOutcome('grpo');
    near(
      Float64Array.from(published, (_, i) => nonEmpty(published, i)),
      get('grpo.ref'),
      3e-6,
      'grpo.ref',
      3e-6,
    );
  });

  for (const config of info.sets[set].configs) {
    suiteOf(`${set}: prlAdvantages agrees with the stored values of ${config.key}`, async () => {
      const split: StepSplit =
        config.step_split === 'length'
          ? { kind: 'length', length: config.step_len }
          : { kind: 'tokens', tokens: [config.step_split === 'n' ? info.newline_id : info.double_newline_id] };
      const tokens = kept.map((own) => Array.from(own, (at) => get('responses')[at]));
      // Steps by length are counted over the columns, masked ones too.
      const cuSteps =
        split.kind === 'length'
          ? splitSteps(tokens, { kind: 'offsets', offsets: kept.map((own) => stepBegins(own, columns, split.length)) })
          : splitSteps(tokens, split);
      const out = await prlAdvantages({
        outcomeAdvantages: await publishedOutcome(config.norm_by_std ? 'grpo' : 'dr_grpo'),
        oldLogProbs: here(old),
        refLogProbs: ref,
        cuSeqlens,
        cuSteps,
        eta: config.eta,
      }).read();
      // One rounding of the outcome advantage, one of the result.
      const size = Math.max(...pack(`exact.${config.key}`).map(Math.abs));
      near(out, pack(`exact.${config.key}`), 2.1 * UNIT_ROUNDOFF.float32 * size, `exact.${config.key}`);
      // The published expressions, row by row where they do what they mean.
      const published = pack(`ref.${config.key}`);
      for (let i = 0; i < rows; i++) {
        if (config.rows_where_ref_differs.includes(i)) continue;
        const [from, to] = [cuSeqlens[i], cuSeqlens[i + 1]];
        near(out.subarray(from, to), published.subarray(from, to), 3e-6, `ref.${config.key} row ${i}`, 1e-6);
      }
      compared += out.length;
    });
  }

  for (const beta of [0.005, 0.04]) {
    suiteOf(`${set}: frpoAdvantages agrees with the stored values of beta ${beta}`, async () => {
      const args = {
        outcomeAdvantages: await grouped(score, group, { epsilon: 1e-6, std: 'population' }),
        oldLogProbs: here(old),
        refLogProbs: ref,
        cuSeqlens,
        beta,
      };
      const tolerance = 1e-6;
      near(await frpoAdvantages(args).read(), pack(`frpo.k1.beta${beta}`), tolerance, 'k1', 2 * UNIT_ROUNDOFF.float32);
      // The stored k3 sums f over the token itself too, where the gradient of the divergence has its log-ratio.
      const k3 = pack(`frpo.k3.beta${beta}`).map((value, t) => {
        const d = old[t] - ref[t];
        return value + beta * (Math.exp(-d) + d - 1 - d);
      });
      near(await frpoAdvantages({ ...args, estimator: 'k3' }).read(), k3, tolerance, 'k3', 2 * UNIT_ROUNDOFF.float32);
      compared += 2 * k3.length;
    });
  }
}

/** Where steps of `length` columns begin among a row's kept tokens. */
function stepBegins(own: number[], columns: number, length: number): number[] {
  const begins: number[] = [];
  for (let k = 1; k < own.length; k++) if (((own[k - 1] % columns) + 1) % length === 0) begins.push(k);
  return begins;
}

suiteOf('outcomeConditionedCenter agrees with the stored values of PROGRS', async () => {
  const stored = readSafetensors(new URL('progrs.safetensors', folder));
  const get = (name: string) => stored.get(name)!.data;
  const out = await outcomeConditionedCenter(here(get('trajectory_score')), get('correct'), get('group')).read();
  near(out, get('trajectory_centered'), 1e-12, 'trajectory_centered', 1.01 * UNIT_ROUNDOFF.float32);
  const rewards = get('reward_lambda0_3');
  const grpo = await grouped(rewards, get('group'), { epsilon: 1e-6 });
  near(grpo, get('advantage_grpo'), 2e-6, 'advantage_grpo', 2e-6); // rewards rounded to float32 first
  near(await grouped(rewards, get('group'), { kind: 'dr_grpo' }), get('advantage_drgrpo'), 4 * UNIT_ROUNDOFF.float32);
  compared += out.length;
});

suiteOf('all 27917 stored values were compared', () => {
  assert.is(compared, 27917);
});
suiteOf.run();
