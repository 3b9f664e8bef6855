// The estimate before a run: its formulas, what it measures, and that it leaves the policy as it was.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { resolveOptions } from '../../lib/base/options.js';
import { Estimate, measureSpeed, samplingSeconds, spaceOf, stepSeconds } from '../../lib/cli/train/estimate.js';
import { ArithmeticTask, Policy } from '../../lib/index.js';
import { TRAINER_OPTIONS } from '../../lib/train/options.js';

const task = new ArithmeticTask();
const policyOf = (dtype?: 'float32' | 'bfloat16') =>
  Policy.create(
    {
      ...{ model_type: 'llama', vocab_size: task.tokenizer.vocabSize, hidden_size: 32, intermediate_size: 64 },
      ...{ num_hidden_layers: 1, num_attention_heads: 2, tie_word_embeddings: true },
    },
    { seed: 1, dtype },
  );
const optionsOf = (given: object) => resolveOptions('test', TRAINER_OPTIONS, given);

/** 100 tokens a second where scored; 8 rows get a token each in half a second. */
const SPEED = { scored: 100, decode: { seconds: 0.5, rows: 8 } };

const estimate = suite('estimate');

estimate('a step is its sampling, a pass of the reference and three passes per iteration', () => {
  const sizes = { promptsPerStep: 4, numGenerations: 5, numIterations: 2, prompt: 10, response: 30, served: false };
  // 40 tokens of prompts; then 30 tokens, each in .5 s and a hundredth of a second for each of 12 more rows.
  const rollout = 0.4 + 30 * 0.62;
  assert.is(samplingSeconds(SPEED, 4, 5, sizes), rollout);
  const pass = (20 * 40) / 100;
  assert.equal(stepSeconds(SPEED, { ...sizes, reference: true }), { rollout, reference: pass, update: 6 * pass });
  assert.equal(stepSeconds(SPEED, { ...sizes, reference: false, served: true }), {
    ...{ rollout: 0, reference: 0, update: 6 * pass },
  });
  // Fewer rows than measured are at best proportionally faster.
  assert.is(samplingSeconds({ scored: 4, decode: SPEED.decode }, 1, 4, { prompt: 0, response: 10 }), 2.5);
});

estimate('the disk that a run takes is that of its files', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-estimate-'));
  try {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const policy = policyOf(dtype);
      await policy.update({ prompts: [[1]], completions: [[2]], advantages: new Float32Array(1) }, { learningRate: 0 });
      await policy.save(folder);
      await policy.saveOptimizer(join(folder, 'optimizer.bin'));
      const [weights, optimizer] = ['model.safetensors', 'optimizer.bin'].map(
        (name) => statSync(join(folder, name)).size,
      );
      const space = (given: object) => spaceOf(policy, optionsOf({ method: 'grpo', ...given }), 8);
      const { checkpoint, disk } = space({ maxSteps: 100, saveSteps: 5, saveTotalLimit: 2 });
      // The headers of the two files name 12 and 24 or 36 tensors, in less than 150 bytes each.
      const headers = weights + optimizer - checkpoint;
      assert.ok(headers > 0 && headers < 48 * 150, `${dtype}: ${headers}`);
      const base = disk - 3 * checkpoint;
      assert.ok(weights - base > 0 && weights - base < 12 * 150, `${dtype}: ${weights - base}`);
      assert.is(space({ maxSteps: 6, saveSteps: 5 }).disk - base, 2 * checkpoint, 'no more than the run saves');
      const [plain, other] = [space({}), space({ beta: 0.1, method: 'prl' })];
      assert.ok(other.memory > plain.memory && plain.memory > base + policy.parameterCount * 12, dtype);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

estimate('the probe measures a speed and leaves the policy as it was, bit for bit', async () => {
  const [policy, untouched] = [policyOf(), policyOf()];
  const { scored, decode } = await measureSpeed(policy);
  assert.ok(scored > 0 && decode.seconds > 0 && decode.rows === 64);
  const course = async (each: Policy) => {
    const [{ completions }] = await each.generate([[1, 2]], { n: 4, maxNewTokens: 6, seed: 3 });
    const tokens = completions.map((completion) => completion.tokens);
    const batch = {
      ...{ prompts: tokens.map(() => [1, 2]), completions: tokens },
      advantages: Float32Array.from({ length: tokens.reduce((n, { length }) => n + length, 0) }, (_, i) => i % 3),
    };
    const { loss, gradNorm } = await each.update(batch, { learningRate: 1e-3 });
    return [tokens, loss, gradNorm, each.parameters.map(({ name }) => each.readParameter(name).data)];
  };
  assert.equal(await course(policy), await course(untouched));
});

estimate('a run that takes days is warned of, with what is shorter', async () => {
  const [lines, warnings]: string[][] = [[], []];
  const plan = (given: object) =>
    new Estimate({
      ...{ policy: policyOf(), task, evaluated: 10, served: false, folder: tmpdir(), advice: 'ADVICE' },
      options: optionsOf({ method: 'grpo', maxSteps: 20, evalSteps: 8, ...given }),
      say: (line) => lines.push(line),
      warn: (message) => warnings.push(message),
    });
  const short = plan({});
  await short.before();
  short.afterEvaluation(12.4);
  assert.is(lines.length, 3);
  assert.match(
    lines[0],
    /^estimate +\S+ for 20 steps and 4 evaluations, \S+ a step .* if every response had 72 tokens$/,
  );
  assert.match(
    lines[2],
    /^estimate +\S+ for 20 steps and 3 evaluations, .* with responses of 12 tokens, as evaluated$/,
  );
  assert.equal(warnings, []);
  await plan({ maxTokens: 5 * 32 * 8 * 72 - 1 }).before();
  assert.match(lines[3], / for 5 steps and 2 evaluations, /);
  await plan({ maxSteps: 1e9 }).before();
  assert.is(warnings.length, 1);
  assert.match(warnings[0], /^a step may take \S+, and the whole run \d+d\d+h \(an estimate\)\. ADVICE$/);
});

estimate.run();
