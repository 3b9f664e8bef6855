// A real model, SmolLM2-135M-Instruct, against transformers (test/fixtures/smollm2/make.py), and trained.
// `npm run test:model` makes the model and runs this file.
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ChatMessage,
  loadDemonstrations,
  mathVerifier,
  Policy,
  type PolicyLike,
  SftTrainer,
  Tokenizer,
  Trainer,
} from '../../lib/index.js';
import { near } from '../reference/numbers.js';

interface Expected {
  sha256: string;
  sequences: { text: string; ids: number[]; logProbs: number[] }[];
  greedy: { messages?: ChatMessage[]; prompt: string; tokens: number[] }[];
  chats: { messages: ChatMessage[]; addGenerationPrompt: boolean; ids: number[] }[];
  sft: {
    learningRate: number;
    rows: { prompt: string; completion: string }[];
    ids: [prompt: number[], completion: number[]][];
    /** float64; the steps are float32. */
    firstLoss: number;
    steps: { loss: number; gradNorm: number }[];
  };
}
const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/smollm2/${name}`, import.meta.url), 'utf8'));
const expected: Expected = fixture('expected.json');
/** Decoded texts are there where they are not the text itself. */
const texts: [text: string, ids: number[], decoded?: string, withoutSpecial?: string][] = fixture('texts.json');

const source = process.env.PRL_TEST_MODEL!;
const folder = mkdtempSync(join(tmpdir(), 'prl-smollm2-'));
const at = (...path: string[]) => join(folder, ...path);
let tokenizer: Tokenizer;
let policy: Policy;

const model = suite('SmolLM2-135M-Instruct');
model.before(async () => {
  tokenizer = await Tokenizer.load(source);
  policy = await Policy.load(source);
});
model.after(() => rmSync(folder, { recursive: true }));

model('the weights are those that the expected values are for', async () => {
  const hash = createHash('sha256');
  await pipeline(createReadStream(join(source, 'model.safetensors')), hash);
  assert.is(hash.digest('hex'), expected.sha256, 'PRL_TEST_MODEL must be a folder that scripts/smollm2.mjs made');
});

model("200 texts have transformers' tokens, and the tokens transformers' texts", () => {
  assert.is(texts.length, 200);
  for (const [text, ids, decoded = text, withoutSpecial = text] of texts) {
    assert.equal([...tokenizer.encode(text)], ids, JSON.stringify(text));
    assert.is(tokenizer.decode(ids, { skipSpecialTokens: false }), decoded);
    assert.is(tokenizer.decode(ids), withoutSpecial);
  }
});

model("conversations have transformers' tokens", () => {
  for (const { messages, addGenerationPrompt, ids } of expected.chats)
    assert.equal([...tokenizer.encodeChat(messages, { addGenerationPrompt })], ids, JSON.stringify(messages));
});

model("log-probabilities are transformers', and those of bfloat16 weights the same bits", async () => {
  const ids = expected.sequences.map((each) => each.ids);
  const { logProbs } = await policy.logProbs(ids);
  // transformers' own float32 is up to 2.1e-5 away from its float64.
  near(
    logProbs,
    expected.sequences.flatMap((each) => each.logProbs),
    5e-5,
  );
  // The file has bfloat16 weights, so nothing is rounded.
  const small = await Policy.load(source, { dtype: 'bfloat16' });
  assert.equal((await small.logProbs(ids)).logProbs, logProbs);
  small.dispose();
});

model("greedy tokens are transformers'", async () => {
  const prompts = expected.greedy.map(({ messages, prompt }) =>
    messages ? tokenizer.encodeChat(messages, { addGenerationPrompt: true }) : tokenizer.encode(prompt),
  );
  const results = await policy.generate(prompts, { temperature: 0, maxNewTokens: 24 });
  for (const [i, { completions }] of results.entries())
    assert.equal([...completions[0].tokens], expected.greedy[i].tokens, expected.greedy[i].prompt);
});

/** SHA-256 of all weights. */
function weightsOf(trained: PolicyLike): string {
  const hash = createHash('sha256');
  for (const name of PARAMETERS) hash.update((trained as Policy).readParameter(name).data as Float32Array);
  return hash.digest('hex');
}
const LAYER = [
  ...['input_layernorm', 'self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj'],
  ...['post_attention_layernorm', 'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'],
];
const PARAMETERS = [
  ...['model.embed_tokens.weight', 'model.norm.weight'],
  ...Array.from({ length: 30 }, (_, layer) => LAYER.map((part) => `model.layers.${layer}.${part}.weight`)).flat(),
];

model("five SFT steps have transformers' losses; stopped and resumed, they end with the same bits", async () => {
  const { rows, ids, firstLoss, steps, learningRate } = expected.sft;
  writeFileSync(at('rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  const dataset = await loadDemonstrations(at('rows.jsonl'), { tokenizer, promptTemplate: 'question' });
  assert.equal(
    dataset.demonstrations.map(({ prompt, completion }) => [[...prompt], [...completion]]),
    ids,
  );
  const train = async (start: Policy, options: object, stopAfter = Infinity) => {
    const trainer = new SftTrainer({
      ...{ policy: start, tokenizer, dataset, learningRate, lrSchedulerType: 'constant', maxSteps: 5, ...options },
    });
    const losses = [];
    for await (const { step, loss, grad_norm } of trainer.run()) {
      losses.push({ loss, gradNorm: grad_norm });
      if (step === stopAfter) trainer.stop();
    }
    return { policy: trainer.policy as Policy, losses };
  };
  const whole = await train(policy, {});
  // Ours is 4e-7 away from float64, transformers' float32 is 1.5e-5 away.
  near([whole.losses[0].loss], [firstLoss], 1e-5, 'first loss');
  near([whole.losses[0].gradNorm], [steps[0].gradNorm], 1e-3 * steps[0].gradNorm, 'first gradient norm');
  // Where a gradient is tiny, rounding decides the sign of AdamW's first steps: 2e-5 was measured, on AVX2 and generic.
  near(
    whole.losses.map(({ loss }) => loss),
    steps.map(({ loss }) => loss),
    1e-4,
    'losses',
  );
  assert.ok(whole.losses[4].loss < 0.5 * whole.losses[0].loss, `loss ${whole.losses.map(({ loss }) => loss)}`);
  const weights = weightsOf(whole.policy);
  policy.dispose();

  const output = { output: at('sft'), resume: true };
  const first = await train(await Policy.load(source), output, 2);
  first.policy.dispose();
  const second = await train(await Policy.load(source), output);
  assert.equal([...first.losses, ...second.losses], whole.losses);
  assert.is(weightsOf(second.policy), weights);
  second.policy.dispose();
});

const rewards = (rows: { reward: number }[]) => rows.map(({ reward }) => reward);
const PROBLEMS = [
  ['Ana has 14 pens and buys 5 more. How many pens does she have?', '19'],
  ['There are 7 bags with 8 nuts each. How many nuts are there?', '56'],
  ['Ben reads 25 pages. Eva reads 11 pages less. How many pages does Eva read?', '14'],
  ['A train has 40 seats. 16 people get on. How many seats are free?', '24'],
];

model('three steps of GRPO train on word problems; stopped and resumed, they end with the same bits', async () => {
  const dataset = PROBLEMS.map(([question, answer]) => ({ prompt: `Question: ${question}\nAnswer:`, answer }));
  const train = async (options: object, stopAfter = Infinity) => {
    // What SFT made.
    const start = await Policy.load(at('sft', 'checkpoints', 'step-000005'));
    const trainer = new Trainer({
      ...{ policy: start, tokenizer, dataset, verifier: mathVerifier({ extraction: 'any' }), method: 'grpo' },
      ...{ promptsPerStep: 4, numGenerations: 4, maxCompletionLength: 24, maxSteps: 3, learningRate: 1e-5 },
      ...options,
    });
    const rows = [];
    for await (const { step, metrics } of trainer.run()) {
      rows.push(metrics);
      if (step === stopAfter) trainer.stop();
    }
    return { policy: trainer.policy as Policy, rows };
  };
  const whole = await train({});
  const weights = weightsOf(whole.policy);
  whole.policy.dispose();
  const learned = whole.rows.filter(({ reward, grad_norm }) => reward > 0 && reward < 1 && grad_norm > 0);
  assert.ok(learned.length > 0, `rewards ${rewards(whole.rows)}: there is something to learn`);
  const output = { output: at('rl'), resume: true };
  const first = await train(output, 1);
  first.policy.dispose();
  const second = await train(output);
  assert.equal(rewards([...first.rows, ...second.rows]), rewards(whole.rows));
  assert.is(weightsOf(second.policy), weights);
});

model.run();
