// npm run bench:policy [-- --peers PYTHON [--all-variants]] [--runs N] [--threads N] [--json FILE]
//
// The native policy on the embedded task's model (380 k parameters): one update, scoring, generation. With --peers, a python that
// has torch runs bench/peers/policy_peer.py on the identical batch and weights; losses, gradient norms and log-probs must agree
// before times are compared.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Policy, type PolicyConfig, setThreads } from '../lib/index.js';
import { nativeInfo, packageRoot } from '../lib/native.js';

const { values } = parseArgs({
  options: {
    peers: { type: 'string' },
    'all-variants': { type: 'boolean' },
    runs: { type: 'string', default: '21' },
    threads: { type: 'string', default: String(nativeInfo().threads) },
    json: { type: 'string' },
  },
});
const threads = Number(values.threads);
const runs = Number(values.runs);
setThreads(threads);

const CONFIG: PolicyConfig = {
  model_type: 'llama',
  vocab_size: 18,
  hidden_size: 128,
  intermediate_size: 320,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  rms_norm_eps: 1e-5,
  rope_theta: 1e4,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
};
const VOCAB = CONFIG.vocab_size;

/** The peer's documented batch: a 32-bit linear congruential generator, lengths first, then tokens, then per-token values. */
function makeBatch(rows: number) {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  const int = (a: number, b: number) => a + Math.floor((next() * (b - a + 1)) / 2 ** 24);
  const lengths = Array.from({ length: rows }, () => [int(5, 20), int(4, 45)]);
  const prompts: number[][] = [];
  const completions: number[][] = [];
  for (const [p, c] of lengths) {
    prompts.push(Array.from({ length: p }, () => int(0, VOCAB - 1)));
    completions.push(Array.from({ length: c }, () => int(0, VOCAB - 1)));
  }
  const advantages: number[] = [];
  const oldLogProbs: number[] = [];
  for (const [, c] of lengths) {
    for (let i = 0; i < c; i++) {
      advantages.push((2 * next()) / 2 ** 24 - 1);
      oldLogProbs.push(-Math.log(VOCAB) + 0.2 * (next() / 2 ** 24 - 0.5));
    }
  }
  return {
    prompts,
    completions,
    advantages: Float32Array.from(advantages),
    oldLogProbs: Float32Array.from(oldLogProbs),
  };
}

interface Row {
  name: string;
  tokens: number;
  medianMs: number;
  p10Ms: number;
  p90Ms: number;
}

async function time(name: string, tokens: number, run: () => Promise<unknown>): Promise<Row> {
  const times: number[] = [];
  for (let i = -3; i < runs; i++) {
    const begin = performance.now();
    await run();
    if (i >= 0) times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  const at = (q: number) => times[Math.round(q * (times.length - 1))];
  return { name, tokens, medianMs: at(0.5), p10Ms: at(0.1), p90Ms: at(0.9) };
}

const batch = makeBatch(256);
// A rollout as GRPO makes it: the same lengths in all, eight completions per prompt, next to each other.
const grouped = { ...batch, prompts: batch.prompts.map((_, i) => batch.prompts[i - (i % 8)]) };
const responses = batch.advantages.length;
const UPDATE = { learningRate: 3e-4, adamBeta2: 0.99 };
const sequences = batch.prompts.map((prompt, i) => [...prompt, ...batch.completions[i]]);
const start = batch.prompts.map((prompt) => prompt.length);
const generation = { maxNewTokens: 64, ignoreEos: true };

// The peer's fastest variants, eager and compiled, of a run with all of them (minutes of compilation).
const FASTEST: Record<string, string> = {
  update:
    'eager buckets x8, trimmed, bmm;compile buckets x4, trimmed (dynamic);compile buckets x8, trimmed, bmm attention (dynamic)',
  logprobs:
    'eager buckets x8, trimmed, bmm;compile buckets x8, trimmed, bmm, C++;compile buckets x4, trimmed, bmm attention (dynamic)',
  generate: 'eager, static cache;blocks of 16, sdpa;blocks of 16, mul-sum',
};

interface Peer {
  best: string;
  info: { loss?: number; grad_norm?: number };
  results: { variant: string; median_ms?: number; p10_ms: number; p90_ms: number }[];
}
const scratch = mkdtempSync(join(tmpdir(), 'prl-bench-'));
function peer(mode: string, extra: string[] = []): Peer | undefined {
  if (!values.peers) return undefined;
  const file = join(scratch, `${mode}.json`);
  console.log(`  (peer: ${mode} ${extra.join(' ')})`);
  const args = `--mode ${mode} --threads ${threads} --runs ${runs} --retries 0 --json`.split(' ').concat(file, extra);
  if (!values['all-variants']) args.push('--variants', FASTEST[mode]);
  const run = spawnSync(values.peers, [join(packageRoot, 'bench/peers/policy_peer.py'), ...args], { encoding: 'utf8' });
  if (run.status !== 0) {
    console.error(`the peer's ${mode} failed and is skipped:\n${run.stderr.slice(-1500)}`);
    return undefined;
  }
  return JSON.parse(readFileSync(file, 'utf8'));
}

const rows: (Row & { peerMs?: number; peerVariant?: string; eagerMs?: number })[] = [];
function report(row: Row, from?: Peer) {
  const best = from?.results.find((r) => r.variant === from.best);
  const eager = from?.results
    .filter((r) => r.variant.startsWith('eager') && r.median_ms !== undefined)
    .reduce((a, b) => (a.median_ms! < b.median_ms! ? a : b));
  rows.push({ ...row, peerMs: best?.median_ms, peerVariant: best?.variant, eagerMs: eager?.median_ms });
  const speed = `${(row.tokens / row.medianMs).toFixed(1)} k tokens/s`;
  const ratio = best
    ? `   best peer ${best.median_ms!.toFixed(1)} ms (${best.variant}): ${(best.median_ms! / row.medianMs).toFixed(2)}x; best eager ${eager!.median_ms!.toFixed(1)} ms: ${(eager!.median_ms! / row.medianMs).toFixed(2)}x`
    : '';
  const cells = `${row.medianMs.toFixed(1).padStart(8)} ms  [${row.p10Ms.toFixed(1)}, ${row.p90Ms.toFixed(1)}]`;
  console.log(`${row.name.padEnd(44)} ${cells}  ${speed}${ratio}`);
}

console.log(
  `policy of 379,776 parameters, ${nativeInfo().isa}, ${threads} threads, ${runs} runs; ${responses} response tokens`,
);
let policy = Policy.create(CONFIG, { seed: 1 });
try {
  const folder = join(scratch, 'model');
  const peerUpdate = peer('update', ['--save-weights', join(scratch, 'peer.safetensors')]);
  if (peerUpdate) {
    mkdirSync(folder);
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...CONFIG, architectures: ['LlamaForCausalLM'] }));
    renameSync(join(scratch, 'peer.safetensors'), join(folder, 'model.safetensors'));
    policy.dispose();
    policy = await Policy.load(folder);
    const { loss, gradNorm } = await policy.computeGradients(batch);
    const { loss: peerLoss, grad_norm: peerNorm } = peerUpdate.info;
    console.log(
      `loss ${loss.toFixed(6)} against ${peerLoss}, gradient norm ${gradNorm.toFixed(6)} against ${peerNorm}`,
    );
    // Float32 in other orders, and a token at a clip boundary may fall on either side: 1 of 6,596 moves the norm by up to 1.5e-4.
    if (!(Math.abs(loss - peerLoss!) < 2e-6 && Math.abs(gradNorm - peerNorm!) < 1.5e-4 * peerNorm!))
      throw new Error('we and the peer compute different things');
  }
  const learner = policy.clone();
  report(await time('update, 256 different prompts', responses, () => learner.update(batch, UPDATE)), peerUpdate);
  report(
    await time('update, 32 prompts x 8 completions', responses, () => learner.update(grouped, UPDATE)),
    peerUpdate,
  );
  report(
    await time('log-probs, 256 different prompts', responses, () => policy.logProbs(sequences, { start })),
    peer('logprobs'),
  );
  for (const count of [256, 48]) {
    const prompts = makeBatch(count).prompts;
    report(
      await time(`generate, ${count} rows x 64 tokens`, count * 64, () => policy.generate(prompts, { ...generation })),
      peer('generate', ['--rows', String(count), '--new-tokens', '64']),
    );
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
if (values.json) writeFileSync(values.json, `${JSON.stringify({ ...nativeInfo(), threads, runs, rows }, null, 2)}\n`);
