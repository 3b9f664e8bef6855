// The client against `prl serve` in other processes, which die, come back and take new weights.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Policy, PrlError, promptSeeds, type RolloutEngine, VllmEngine } from '../../../lib/index.js';
import { Trainer, type TrainingStep } from '../../../lib/train/trainer.js';
import { echoTask } from '../../fakes/echo-task.js';
import { nativePolicy } from '../../fakes/native-policy.js';
import { prl, saveArithmeticModel } from '../../fakes/prl.js';
import { type Served, startServer } from '../../fakes/served.js';
import { rejectsWith } from '../../policy/rejects.js';
import { tinyPolicy } from '../../policy/tiny.js';

let folder: string;
let tiny: string;
let syncFolder: string;
const started: Served[] = [];
async function start(model: string, args: string[] = [], env: Record<string, string> = {}): Promise<Served> {
  const server = await startServer(model, args, env);
  started.push(server);
  return server;
}

const processes = suite('prl serve: other processes');
processes.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'prl-served-'));
  tiny = join(folder, 'tiny');
  syncFolder = join(folder, 'sync');
  await tinyPolicy().save(tiny);
});
processes.after.each(async () => {
  await Promise.all(started.splice(0).map((server) => server.end()));
});
processes.after(() => rmSync(folder, { recursive: true }));

const PROMPTS = Array.from({ length: 24 }, (_, i) => [1 + (i % 22), 5]);
// Long enough to be under way when a server is killed.
const LONG = { n: 4, maxNewTokens: 200, seed: 11, temperature: 1.2, ignoreEos: true };
const seeded = { ...LONG, seed: promptSeeds(LONG.seed, PROMPTS.length) };

processes('kill -9 in mid-batch changes no sample, and the restarted server gets the new weights', async () => {
  const args = ['--port', '0', '--sync-folder', syncFolder];
  const servers = await Promise.all([start(tiny, args), start(tiny, args)]);
  const warnings: string[] = [];
  const engine = new VllmEngine({
    urls: servers.map(({ url }) => url),
    syncFolder,
    concurrency: 4,
    retryDelay: 50,
    onWarning: (text) => warnings.push(text),
  });
  const trained = tinyPolicy({}, 3);
  await engine.sync(trained, 1);
  const expected = await trained.generate(PROMPTS, seeded);
  let killed = false;
  const found = await engine.generate(PROMPTS, {
    ...LONG,
    onProgress: () => {
      if (!killed) servers[0].end('SIGKILL');
      killed = true;
    },
  });
  assert.equal(found, expected, 'the same samples, whoever made them');
  assert.ok(
    warnings.some((text) => text.includes(servers[0].url)),
    `${warnings}`,
  );

  const again = await start(tiny, ['--port', new URL(servers[0].url).port, '--sync-folder', syncFolder]);
  assert.is(again.url, servers[0].url);
  const version = async () =>
    ((await (await fetch(`${again.url}/weight_info`)).json()) as { weight_version: string }).weight_version;
  assert.is(await version(), 'default');
  assert.equal(await engine.generate(PROMPTS, LONG), expected);
  assert.match(await version(), /^step-000001-/);

  await Promise.all([again.end(), servers[1].end()]);
  const short = new VllmEngine({ urls: servers.map(({ url }) => url), retries: 1, retryDelay: 20 });
  await rejectsWith(
    short.generate(PROMPTS, LONG),
    PrlError,
    'ERR_PRL_HTTP',
    /cannot reach .*ECONNREFUSED.*tried 2 times/,
  );
});

processes('training with rollouts over HTTP ends with the same weights as without, bit for bit', async () => {
  const model = join(folder, 'echo');
  await nativePolicy(echoTask).save(model);
  await echoTask.tokenizer.save(model);
  const args = ['--port', '0', '--sync-folder', syncFolder];
  const servers = await Promise.all([start(model, args), start(model, args)]);
  const train = async (engineOf: (policy: Policy) => RolloutEngine) => {
    const policy = nativePolicy(echoTask);
    const steps: TrainingStep[] = [];
    const trainer = new Trainer({
      policy,
      rolloutEngine: engineOf(policy),
      task: echoTask,
      method: 'grpo',
      promptsPerStep: 8,
      numGenerations: 8,
      maxCompletionLength: 4,
      temperature: 0.9,
      learningRate: 1e-2,
      maxSteps: 6,
    });
    for await (const step of trainer.run()) steps.push(step);
    const values = policy.parameters.map(({ name }) => policy.readParameter(name).data);
    return { steps, values };
  };
  const local = await train((policy) => ({
    generate: (prompts, options) =>
      policy.generate(prompts, { ...options, seed: promptSeeds(options.seed ?? 0, prompts.length) }),
  }));
  const served = await train(() => new VllmEngine({ urls: servers.map(({ url }) => url), syncFolder }));
  for (const [i, { rollout, metrics }] of served.steps.entries()) {
    const other = local.steps[i];
    assert.equal(rollout.completions, other.rollout.completions);
    assert.equal(rollout.rolloutLogProbs, other.rollout.rolloutLogProbs, 'as they were in the server');
    assert.equal(rollout.importanceWeights, other.rollout.importanceWeights);
    assert.ok(metrics['sampling/sampling_logp_difference/max']! < 1e-4);
    assert.type(metrics['seconds/sync'], 'number');
  }
  assert.equal(served.values, local.values);
  assert.not.equal(
    served.values,
    nativePolicy(echoTask).parameters.map(({ name }) => nativePolicy(echoTask).readParameter(name).data),
  );
  assert.is(readdirSync(syncFolder).filter((name) => name.startsWith('step-000005')).length, 1);
});

processes('SIGTERM and SIGINT end prl serve cleanly, also with running requests', async () => {
  const ends = async (signal: NodeJS.Signals) => {
    const server = await start(tiny, ['--port', '0'], { PRL_API_KEY: 'secret' });
    // The head of a streamed answer comes when the request is taken.
    const request = await fetch(`${server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer secret' },
      body: JSON.stringify({ prompt: [3], n: 1024, max_tokens: 290, ignore_eos: true, stream: true }),
    });
    assert.is(request.status, 200);
    const answer = request.text().catch((error) => error);
    const before = performance.now();
    assert.is(await server.end(signal), 0, server.said());
    assert.ok(performance.now() - before < 15_000);
    assert.instance(await answer, Error);
    assert.is(server.said(), `${tiny} is served at ${server.url}\n`);
  };
  await Promise.all([ends('SIGTERM'), ends('SIGINT')]);
});

processes('prl train --rollout-url samples from the server, and again after a resume', async () => {
  const model = join(folder, 'arithmetic');
  await saveArithmeticModel(model);
  const own = join(folder, 'own-sync');
  const server = await start(model, ['--port', '0', '--sync-folder', own]);
  const output = join(folder, 'run');
  const first = prl([
    ...[
      'train',
      '--model',
      model,
      '--output',
      output,
      '--max-steps',
      '2',
      '--rollout-url',
      server.url,
      '--sync-folder',
      own,
    ],
    ...['--preset', 'smoke', '--prompts-per-step', '4', '--num-generations', '4', '--max-completion-length', '12'],
    ...['--eval-problems', '5', '--eval-samples', '2'],
  ]);
  assert.is(first.status, 0, first.stderr + first.stdout);
  const second = prl(['train', '--resume', '--output', output, '--max-steps', '3']);
  assert.is(second.status, 0, second.stderr + second.stdout);
  const rows = readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.is(rows.length, 3);
  for (const row of rows) {
    assert.type(row['seconds/sync'], 'number');
    assert.ok(row['sampling/sampling_logp_difference/max'] < 1e-4);
    assert.ok(Math.abs(row['sampling/importance_sampling_ratio/mean'] - 1) < 1e-3);
  }
  assert.ok(existsSync(join(own, readdirSync(own)[0], 'model.safetensors')));
});
processes.run();
