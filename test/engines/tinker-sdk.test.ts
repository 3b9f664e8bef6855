// An unchanged script for Thinking Machines' SDK trains, samples, saves and loads with `prl serve --tinker`, and its
// numbers are those of the policy. `npm run test:engines` fetches the SDKs and runs this file.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy } from '../../lib/index.js';
import { packageRoot } from '../../lib/kernels/native.js';
import { environment, saveArithmeticModel } from '../fakes/prl.js';
import { type Served, startServer } from '../fakes/served.js';
import { peer } from './peers.js';

const folder = mkdtempSync(join(tmpdir(), 'prl-engines-'));
const model = join(folder, 'model');
const states = join(folder, 'states');
const KEY = 'tml-test';
let server: Served;

// biome-ignore lint/suspicious/noExplicitAny: what the script writes
type Result = any;

/** Runs the script. It sends no telemetry to anyone but the server, and asks no hub. */
function runScript(python: string): Result {
  const file = join(folder, 'result.json');
  const script = join(packageRoot, 'test', 'engines', 'tinker_sdk.py');
  const { status, stderr, error } = spawnSync(python, [script, server.url, model, file], {
    encoding: 'utf8',
    timeout: 600_000,
    env: { ...environment, HF_HUB_OFFLINE: '1', HOME: folder },
  });
  assert.is(status, 0, `${error ?? ''} ${stderr}\n${server.said()}`);
  return JSON.parse(readFileSync(file, 'utf8'));
}

/** The losses of the same steps with Policy.update. */
async function expectedLosses(examples: [number[], number[]][], steps: number): Promise<number[]> {
  const policy = await Policy.load(model);
  const [prompts, completions] = [examples.map(([prompt]) => prompt), examples.map(([, answer]) => answer)];
  const advantages = new Float32Array(completions.flat().length).fill(1);
  const options = { learningRate: 0.01, adamBeta2: 0.95, adamEpsilon: 1e-12, maxGradNorm: Infinity };
  const sum = { lossType: 'nll' as const, normalizer: { tokens: 1, sequences: 1 } };
  const losses: number[] = [];
  for (let step = 0; step < steps; step++)
    losses.push((await policy.update({ prompts, completions, advantages }, { ...options, ...sum })).loss);
  policy.dispose();
  return losses;
}

/** Greedy tokens and the log-probabilities of a prompt, by a policy of this process. */
async function expectedSample(from: string, prompt: number[]) {
  const policy = await Policy.load(from);
  const [{ completions }] = await policy.generate([prompt], { maxNewTokens: 4, temperature: 0, ignoreEos: true });
  const { logProbs } = await policy.logProbs([prompt]);
  policy.dispose();
  return { tokens: Array.from(completions[0].tokens), logProbs: Array.from(logProbs) };
}

const sdk = suite("Thinking Machines' SDK");
sdk.before(async () => {
  await saveArithmeticModel(model);
  const args = ['--tinker', '--port', '0', '--state-folder', states, '--api-key', KEY, '--max-models', '8'];
  server = await startServer(model, args);
});
sdk.after(async () => {
  assert.is(await server.end('SIGTERM'), 0);
  rmSync(folder, { recursive: true });
});

for (const version of ['0.38.0', '0.19.0']) {
  const python = peer(`tinker-${version}`);
  if (!python) continue;
  sdk(`${version} trains, samples, saves and loads`, async () => {
    const result = runScript(python);
    assert.is(result.sdk, version);
    assert.equal(result.info, { is_lora: false, model_name: model });

    const { losses, examples } = result;
    const expected = await expectedLosses(examples, losses.length);
    // float32 terms that are summed in another order: 28 of them, 2^-23 each, and as much of every step before.
    for (const [i, loss] of losses.entries())
      assert.ok(!(Math.abs(loss - expected[i]) > 1e-4 * expected[i]), `step ${i}: ${loss}, not ${expected[i]}`);
    assert.ok(losses.at(-1) < 0.8 * losses[0], `${losses}`);

    for (const [lossFn, { loss, expected: wanted, apart }] of Object.entries<Result>(result.policy_losses)) {
      // Sampling and scoring are the same float32 arithmetic.
      assert.ok(!(apart > 1e-5), `${lossFn}: log-probabilities are ${apart} apart`);
      // At ratios of 1 the loss is known; 48 tokens with an error of `apart` each.
      assert.ok(!(Math.abs(loss - wanted) > 48 * 2e-5), `${lossFn}: ${loss}, not ${wanted}`);
    }

    assert.equal(result.resumed, result.continued);
    assert.is(result.without_optimizer[0], result.continued[0]);
    assert.is.not(result.without_optimizer[2], result.continued[2]);

    const prompt = examples[5][0];
    const [, id, kind, name] = /^tinker:\/\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(result.saved.path)!;
    for (const [found, from] of [
      [result.saved, join(states, id.replaceAll(':', '-'), kind, name)],
      [result.base, model],
    ]) {
      const { tokens, logProbs } = await expectedSample(from, prompt);
      assert.equal(found.tokens, tokens);
      assert.is(found.stop_reason, 'length');
      assert.equal(found.prompt_logprobs, [null, ...logProbs]);
      assert.equal(found.scored, found.prompt_logprobs);
      assert.equal(
        found.top.map((ids: number[] | null) => ids?.length),
        [undefined, 2, 2, 2],
      );
    }
    assert.is(result.error.category, 'user');
    assert.match(result.error.message, /data\[0\]: cross_entropy needs the input weights/);
  });
}
sdk('its servers say that all weights are trained', () => {
  assert.match(server.said(), /LoRA of rank 8 was asked for; all weights are trained/);
});
sdk.run();
