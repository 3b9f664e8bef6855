import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { folderDamage } from '../../lib/base/atomic.js';
import {
  loadProcessRewardModel,
  type Policy,
  PrlError,
  QuantilePrm,
  type QuantilePrmOptions,
  type StepBatch,
  scoreSteps,
  setThreads,
} from '../../lib/index.js';
import { nativeInfo } from '../../lib/kernels/native.js';
import { columnMoments, FEATURES, stepFeatures } from '../../lib/prm/features.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { rejectsWith } from '../policy/rejects.js';
import { tinyBatch, tinyPolicy } from '../policy/tiny.js';
import { near, throwsError } from '../reference/numbers.js';

const root = mkdtempSync(join(tmpdir(), 'prl-prm-'));
let count = 0;
const newFolder = () => join(root, String(count++));
const RANGE = [RangeError, 'ERR_PRL_OUT_OF_RANGE'] as const;
const CORRUPT = [PrlError, 'ERR_PRL_CORRUPT'] as const;

const { prompts, completions } = tinyBatch() as unknown as { prompts: Int32Array[]; completions: Int32Array[] };
/** Steps of seven tokens. */
function stepsOf(which: readonly number[]): StepBatch {
  const cuSteps: number[] = [];
  let total = 0;
  for (const i of which) {
    for (let at = 0; at < completions[i].length; at += 7) cuSteps.push(total + at);
    total += completions[i].length;
  }
  const pick = (list: Int32Array[]) => which.map((i) => list[i]);
  return { prompts: pick(prompts), completions: pick(completions), cuSteps: Int32Array.from([...cuSteps, total]) };
}
const ALL = stepsOf(completions.map((_, i) => i));
const make = (options: QuantilePrmOptions = {}, policy = tinyPolicy()) => {
  const model = QuantilePrm.create(policy, { seed: 5, ...options });
  return model;
};
const targetsOf = (steps: number) => Float32Array.from({ length: steps }, (_, k) => (k % 3) / 2);
/** One that has learned a little, so that every parameter matters. */
async function trained(options: QuantilePrmOptions = {}) {
  const model = make(options);
  const encoded = await model.encode(ALL);
  model.standardize(encoded);
  for (let i = 0; i < 5; i++) await model.update(encoded, targetsOf(encoded.steps), { learningRate: 0.03 });
  return model;
}

const features = suite('step features');
features('stepFeatures agrees with hand computation', () => {
  // Two responses: steps (-1, -2), (-0.5); and one step (-4).
  const values = stepFeatures(Float32Array.of(-1, -2, -0.5, -4), Int32Array.of(0, 2, 3, 4), Int32Array.of(0, 2, 3));
  assert.equal([...values], [-3, -2, -3, -2, 0, 0, ...[-0.5, -0.5, -3.5, -2, 1, 1], ...[-4, -4, -4, -4, 0, 1]]);
});
features('columnMoments gives mean and deviation, and a constant column has deviation 1', () => {
  const { mean, deviation } = columnMoments(Float32Array.of(1, 5, 3, 5, 5, 5), 2);
  near(mean, [3, 5], 1e-7);
  near(deviation, [Math.sqrt(8 / 3), 1], 1e-7);
  assert.equal([...columnMoments(new Float32Array(0), 2).deviation], [1, 1]);
});
features('encode makes its features from the log-probabilities of the policy', async () => {
  const policy = tinyPolicy();
  const model = make({}, policy);
  const { features, steps, tokens } = await model.encode(ALL);
  const sequences = ALL.prompts.map((prompt, i) => [...prompt, ...ALL.completions[i]]);
  const { logProbs } = await policy.logProbs(sequences, { start: ALL.prompts.map(({ length }) => length) });
  const first = logProbs.subarray(0, 1);
  near(features.subarray(0, FEATURES), [first[0], first[0], first[0], first[0], 0, 1], 0);
  assert.is(features.length, steps * FEATURES);
  assert.is(
    tokens,
    sequences.reduce((sum, ids, i) => sum + (ALL.completions[i].length > 0 ? ids.length : 0), 0),
  );
});
features.run();

const scoring = suite('QuantilePrm: scores');
scoring.after(() => rmSync(root, { recursive: true, force: true }));
scoring('scores are the same for any number of threads and for each response alone', async () => {
  const model = await trained();
  const { scores } = await model.score(ALL);
  assert.is(scores.length, ALL.cuSteps.length - 1);
  assert.ok(new Set(scores).size > 10 && scores.every((s) => s > 0 && s < 1));
  const { threads } = nativeInfo();
  for (const n of [1, 2, 3]) {
    setThreads(n);
    assert.equal((await model.score(ALL)).scores, scores);
  }
  setThreads(threads);
  const alone = [];
  for (const i of completions.keys()) alone.push(...(await model.score(stepsOf([i]))).scores);
  assert.equal(alone, [...scores]);
  assert.equal(await scoreSteps(model, ALL), await model.score(ALL));
});
scoring('a model is a frozen copy: later updates of its policy change no score', async () => {
  const policy = tinyPolicy();
  const model = make({}, policy);
  const before = await model.score(ALL);
  const { sequences: _, ...batch } = tinyBatch();
  await policy.update(batch, { learningRate: 0.1 });
  policy.dispose();
  assert.equal(await model.score(ALL), before);
});
scoring('quantiles rise in every row, and the option quantile picks a column', async () => {
  const model = await trained({ quantiles: [0.1, 0.5, 0.9], seed: 1 });
  const all = await model.predict(await model.encode(ALL));
  for (let i = 0; i < all.length; i += 3) assert.ok(all[i] <= all[i + 1] && all[i + 1] <= all[i + 2]);
  for (const [j, quantile] of [0.1, 0.5, 0.9].entries()) {
    const { scores } = await model.score({ ...ALL, quantile });
    assert.equal(
      [...scores],
      Array.from(scores, (_, k) => all[3 * k + j]),
    );
  }
  assert.is(model.quantile, 0.5);
  assert.is(make({ quantiles: [0.2, 0.3, 0.8] }).quantile, 0.3);
  assert.is(make({ quantiles: [0.2, 0.3], quantile: 0.2 }).quantile, 0.2);
  await rejectsWith(model.score({ ...ALL, quantile: 0.4 }), ...RANGE, /quantiles 0\.1, 0\.5, 0\.9, not 0\.4/);
});
scoring('scoring leaves the event loop free and stops on abort', async () => {
  const model = make({}, nativePolicy(echoTask));
  const long = Int32Array.from({ length: 400 }, (_, t) => 2 + (t % 9));
  const many = Array.from({ length: 300 }, () => long);
  const batch = {
    prompts: many.map(() => Int32Array.of(2)),
    completions: many,
    cuSteps: Int32Array.from({ length: 301 }, (_, i) => 400 * i),
  };
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const { scores } = await model.score(batch);
  clearInterval(timer);
  assert.is(scores.length, 300);
  assert.ok(ticks >= 3, `${ticks} ticks`);
  const controller = new AbortController();
  const call = model.score({ ...batch, signal: controller.signal });
  setTimeout(() => controller.abort(), 2);
  await rejectsWith(call, PrlError, 'ERR_PRL_ABORTED', /aborted/);
});
scoring('no responses, and responses without tokens, have no scores', async () => {
  const model = make();
  assert.equal(await model.score({ prompts: [], completions: [], cuSteps: Int32Array.of(0) }), {
    scores: new Float32Array(0),
    tokens: 0,
  });
  assert.equal((await model.score(stepsOf([6]))).scores.length, 0);
});
scoring('wrong batches and options are refused, and a disposed model is ERR_PRL_DISPOSED', async () => {
  const model = make();
  await rejectsWith(model.score({ ...ALL, cuSteps: Int32Array.of(0, 219) }), ...RANGE, /start of every response/);
  await rejectsWith(model.score({ ...ALL, prompts: [] }), ...RANGE, /as many prompts as completions: got 0 and 8/);
  await rejectsWith(
    model.score({ prompts: [Int32Array.of(99)], completions: [Int32Array.of(1)], cuSteps: Int32Array.of(0, 1) }),
    ...RANGE,
    /outside the vocabulary/,
  );
  throwsError(() => make({ quantiles: [0.5, 0.1] }), ...RANGE, /quantiles must rise/);
  throwsError(() => make({ quantile: 0.3 }), ...RANGE, /not 0\.3/);
  throwsError(() => make({ width: 0 }), ...RANGE, /width/);
  throwsError(() => make({ widht: 3 } as object), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'width'/);
  throwsError(() => QuantilePrm.create({} as Policy), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /native Policy/);
  model.dispose();
  model.dispose();
  await rejectsWith(model.score(ALL), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
});
scoring.run();

const learning = suite('QuantilePrm: training');
learning('updates lower the loss, and restore brings back what weights() took', async () => {
  const model = make();
  const encoded = await model.encode(ALL);
  model.standardize(encoded);
  const targets = targetsOf(encoded.steps);
  const weights = model.weights();
  const before = await model.score(ALL);
  const losses = [];
  for (let i = 0; i < 200; i++) losses.push((await model.update(encoded, targets, { learningRate: 0.01 })).loss);
  assert.ok(losses[199] < 0.5 * losses[0], `${losses[0]} -> ${losses[199]}`);
  assert.not.equal(await model.score(ALL), before);
  model.restore(weights);
  assert.equal(await model.score(ALL), before);
});
learning('finetune trains the backbone and leaves the frozen copy for the features alone', async () => {
  const model = make({ finetune: true });
  const encoded = await model.encode(ALL);
  model.standardize(encoded);
  const targets = targetsOf(encoded.steps);
  const weights = model.weights();
  const losses = [];
  for (let i = 0; i < 30; i++)
    losses.push(
      (await model.finetune(ALL, encoded.features, targets, { learningRate: 0.01, backboneLearningRate: 3e-3 })).loss,
    );
  assert.ok(losses[29] < 0.9 * losses[0], `${losses[0]} -> ${losses[29]}`);
  const after = await model.encode(ALL);
  assert.equal(after.features, encoded.features);
  assert.not.equal(after.hidden, encoded.hidden);
  assert.is(after.tokens, 2 * (await make().encode(ALL)).tokens, 'both models read');
  model.restore(weights);
  assert.equal((await model.encode(ALL)).hidden, encoded.hidden);
  await rejectsWith(make().finetune(ALL, encoded.features, targets), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /frozen/);
});
learning('a head without features learns from hidden states alone', async () => {
  const model = make({ features: false });
  const encoded = await model.encode(ALL);
  assert.is(encoded.features.length, 0);
  model.standardize(encoded);
  assert.ok((await model.update(encoded, targetsOf(encoded.steps))).applied);
});
learning.run();

const folders = suite('QuantilePrm: folders');
folders.before(() => void mkdirSync(root, { recursive: true }));
folders.after(() => rmSync(root, { recursive: true, force: true }));
for (const finetune of [false, true]) {
  folders(`a ${finetune ? 'finetuned' : 'frozen'} model scores the same after save and load`, async () => {
    const model = await trained({ finetune, quantiles: [0.25, 0.5], quantile: 0.25, width: 9 });
    if (finetune) {
      const encoded = await model.encode(ALL);
      await model.finetune(ALL, encoded.features, targetsOf(encoded.steps), { backboneLearningRate: 0.01 });
    }
    model.info = { seed: 3 };
    const folder = newFolder();
    await model.save(folder, async (backbone) => writeFileSync(join(backbone, 'tokenizer.json'), '{}'));
    assert.is(await folderDamage(folder), undefined);
    const loaded = await QuantilePrm.load(folder);
    assert.equal(await loaded.score(ALL), await model.score(ALL));
    assert.equal([loaded.quantiles, loaded.quantile, loaded.info], [[0.25, 0.5], 0.25, { seed: 3 }]);
    assert.ok(existsSync(join(folder, 'backbone', 'tokenizer.json')));
    // Over itself, and through the seam of the command line.
    await loaded.save(folder);
    const prm = await loadProcessRewardModel(folder, echoTask.tokenizer);
    assert.equal(await prm.score(ALL), await model.score(ALL));
    const other = await loadProcessRewardModel(`${folder}?quantile=0.5`, echoTask.tokenizer);
    assert.equal(await other.score(ALL), await model.score({ ...ALL, quantile: 0.5 }));
    await rejectsWith(loadProcessRewardModel(`${folder}?quantile=0.7`, echoTask.tokenizer), ...RANGE, /not 0\.7/);
  });
}
folders('save does not replace a folder that holds something else', async () => {
  const model = make();
  const folder = newFolder();
  mkdirSync(folder);
  await model.save(folder);
  const full = newFolder();
  mkdirSync(full);
  writeFileSync(join(full, 'thesis.txt'), 'years of work');
  await rejectsWith(model.save(full), PrlError, 'ERR_PRL_IO', /holds something else/);
  assert.is(readFileSync(join(full, 'thesis.txt'), 'utf8'), 'years of work');
});
folders('damaged, truncated and hostile folders are typed errors', async () => {
  const whole = newFolder();
  const model = await trained({ finetune: true });
  await model.save(whole);
  const spoiled = (change: (folder: string) => void) => {
    const folder = newFolder();
    cpSync(whole, folder, { recursive: true });
    change(folder);
    return QuantilePrm.load(folder);
  };
  await rejectsWith(QuantilePrm.load('/nowhere'), PrlError, 'ERR_PRL_IO', /config\.json/);
  for (const file of [
    'model.safetensors',
    'backbone/model.safetensors',
    'reference/model.safetensors',
    'backbone/config.json',
  ])
    await rejectsWith(
      spoiled((f) => truncateSync(join(f, file), 100)),
      ...CORRUPT,
      /is damaged: .* must have \d+ bytes, not 100/,
    );
  await rejectsWith(
    spoiled((f) => rmSync(join(f, 'reference'), { recursive: true })),
    ...CORRUPT,
    /is damaged/,
  );
  await rejectsWith(
    spoiled((f) => rmSync(join(f, 'manifest.json'))),
    ...CORRUPT,
    /is damaged: .*manifest\.json/,
  );
  await rejectsWith(
    spoiled((f) => writeFileSync(join(f, 'config.json'), '{')),
    ...CORRUPT,
    /not JSON/,
  );
  await rejectsWith(
    spoiled((f) => writeFileSync(join(f, 'config.json'), '{}')),
    ...CORRUPT,
    /no process reward model/,
  );

  // With a manifest that fits: what the numbers themselves must be.
  const forged = (change: (folder: string) => void) =>
    spoiled((folder) => {
      change(folder);
      const names = readdirSync(folder, { recursive: true }).map(String);
      const files = names
        .filter((name) => name !== 'manifest.json' && statSync(join(folder, name)).isFile())
        .map((name) => {
          const bytes = readFileSync(join(folder, name));
          return [
            name,
            { size: bytes.length, sha256: createHash('sha256').update(new Uint8Array(bytes)).digest('hex') },
          ];
        });
      writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ files: Object.fromEntries(files) }));
    });
  const config = JSON.parse(readFileSync(join(whole, 'config.json'), 'utf8'));
  const withConfig = (edit: object) =>
    forged((f) => writeFileSync(join(f, 'config.json'), JSON.stringify({ ...config, ...edit })));
  await rejectsWith(withConfig({ quantiles: [0.9, 0.1] }), ...CORRUPT, /config\.json: quantiles must rise/);
  await rejectsWith(withConfig({ quantiles: 'all' }), ...CORRUPT, /array of numbers/);
  await rejectsWith(withConfig({ width: 1e9 }), ...CORRUPT, /width must be/);
  await rejectsWith(withConfig({ width: 63 }), ...CORRUPT, /hidden\.weight.*\[63,30\].*\[64,30\]/);
  await rejectsWith(withConfig({ features: 'yes' }), ...CORRUPT, /features must be/);
  await rejectsWith(withConfig({ features: false }), ...CORRUPT, /\[64,24\].*\[64,30\]/);
  await rejectsWith(withConfig({ quantiles: [0.5], quantile: 0.5 }), ...CORRUPT, /output\.weight/);
  await rejectsWith(
    forged((f) => {
      const file = join(f, 'model.safetensors');
      const bytes = readFileSync(file);
      bytes.writeFloatLE(Number.NaN, bytes.length - 4);
      writeFileSync(file, bytes as unknown as Uint8Array<ArrayBuffer>);
    }),
    ...CORRUPT,
    /must hold finite numbers/,
  );
  await rejectsWith(
    forged((f) => truncateSync(join(f, 'model.safetensors'), 5)),
    ...CORRUPT,
    /safetensors/,
  );
});
folders.run();
