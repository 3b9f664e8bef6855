// A user's tests of code that uses the package. Jest and vitest both run this file, with their globals. Everything that
// it makes is of the realm of the test file, which need not be that of node's modules and of the addon.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as prl from 'prl-node';

const folder = mkdtempSync(join(tmpdir(), 'prl-realm-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const task = new prl.ArithmeticTask();
const { vocabSize, eosTokenId } = task.tokenizer;
const policy = prl.Policy.create(
  {
    ...{ model_type: 'llama', hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2 },
    ...{ vocab_size: vocabSize, eos_token_id: eosTokenId, tie_word_embeddings: true },
  },
  { seed: 1 },
);

/** What a call throws, or how its promise is rejected. */
async function thrownBy(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

test('kernels take typed arrays and give typed arrays', async () => {
  const logits = prl.Tensor.from(new Float32Array(8), [2, 4]);
  const batch = {
    ...{ targets: Int32Array.of(0, 3), advantages: Float32Array.of(1, -0.5), cuSeqlens: Int32Array.of(0, 1, 2) },
  };
  const { loss, logProbs } = prl.policyLossFromLogits({ logits, ...batch, gradient: 'inplace' });
  expect(loss).toBe(-0.25);
  expect(logProbs.data).toBeInstanceOf(Float32Array);
  expect(await logits.read()).toBeInstanceOf(Float32Array);
  expect(prl.Tensor.from(Int32Array.of(1, 2)).dtype).toBe('int32');
  expect(prl.Tensor.from(Uint16Array.of(0x3f80), [1], { dtype: 'bfloat16' }).data).toEqual(Uint16Array.of(0x3f80));
  expect([...prl.groupAdvantages(Float64Array.of(1, 0), [0, 0], { std: 'none' }).data]).toEqual([0.5, -0.5]);
  const bytes = readFileSync(new URL(import.meta.url));
  expect(prl.Tensor.from(bytes).size).toBe(bytes.length);
});

test('errors are instances of the classes of the test', async () => {
  expect(() => prl.Tensor.from('12')).toThrow(TypeError);
  expect(() => prl.Tensor.from([1], [2])).toThrow(RangeError);
  const shared = new Float32Array(new SharedArrayBuffer(8));
  expect(() => prl.Tensor.from(shared)).toThrow('SharedArrayBuffer');
  // These come from the addon.
  for (const threads of [0, 1.5]) expect(await thrownBy(() => prl.setThreads(threads))).toBeInstanceOf(RangeError);
  expect(await thrownBy(() => prl.setThreads('2'))).toBeInstanceOf(TypeError);
  const copy = policy.clone();
  copy.dispose();
  const error = await thrownBy(() => copy.generate([[1]], { maxNewTokens: 1 }));
  expect(error).toBeInstanceOf(Error);
  expect(error).toBeInstanceOf(prl.PrlError);
  expect(error.code).toBe('ERR_PRL_DISPOSED');
});

test('a policy generates typed arrays, and stops at a signal', async () => {
  const [prompt] = [Int32Array.of(1, 2, 3)];
  const [{ completions }] = await policy.generate([prompt], { maxNewTokens: 4, seed: 1 });
  const [completion] = completions;
  expect(completion.tokens).toBeInstanceOf(Int32Array);
  expect(completion.logProbs).toBeInstanceOf(Float32Array);
  expect((await policy.logProbs([prompt])).logProbs).toBeInstanceOf(Float32Array);
  const signal = AbortSignal.abort(new Error('enough'));
  const error = await thrownBy(() => policy.generate([prompt], { maxNewTokens: 4, signal }));
  expect(error.code).toBe('ERR_PRL_ABORTED');
});

test('a policy of your own trains', async () => {
  const calls = [];
  const own = {
    config: policy.config,
    parameterCount: policy.parameterCount,
    generate: async (prompts, options) => {
      calls.push('generate');
      const groups = await policy.generate(prompts, options);
      return groups.map(({ completions }) => ({
        completions: completions.map(({ tokens, logProbs, finishReason }) => ({
          ...{ tokens: Int32Array.from(tokens), logProbs: Float32Array.from(logProbs), finishReason },
        })),
      }));
    },
    logProbs: (sequences, options) => policy.logProbs(sequences, options),
    update: (batch, options) => policy.update(batch, options),
    clone: () => policy.clone(),
    save: (path, options) => policy.save(path, options),
  };
  const small = { maxSteps: 2, promptsPerStep: 2, numGenerations: 4, maxCompletionLength: 8 };
  const trainer = new prl.Trainer({ policy: own, task, method: 'grpo', ...small });
  const steps = [];
  for await (const { metrics } of trainer.run()) steps.push(metrics);
  expect(steps.map(({ step }) => step)).toEqual([1, 2]);
  expect(calls.length).toBe(2);
});

test('verifiers run in their threads, and yours may throw', async () => {
  expect(await prl.verifyMath('\\boxed{\\frac{2}{4}}', '0.5')).toMatchObject({ correct: true });
  expect(await prl.regexVerifier({ pattern: /= (\d+)/ })('1 + 1 = 2', '2')).toBe(1);
  const failing = prl.functionVerifier(function mine() {
    throw new RangeError('out of cheese');
  });
  const error = await thrownBy(() => failing('1', '1', { prompt: '1?' }));
  expect(error).toBeInstanceOf(prl.PrlError);
  expect(error.message).toMatch(/the verifier 'mine' .*: out of cheese/);
});

test('datasets and process reward models', async () => {
  const file = join(folder, 'a.jsonl');
  writeFileSync(file, '{"problem": "1 + 1?", "answer": "2"}\n');
  const { problems } = await prl.loadDataset(file);
  expect(problems.map(({ answer }) => answer)).toEqual(['2']);
  const scores = ({ steps }) => steps.map(() => 0.5);
  const prm = new prl.FunctionPrm(scores, { tokenizer: task.tokenizer });
  const batch = { prompts: [Int32Array.of(1)], completions: [Int32Array.of(1, 2)], cuSteps: Int32Array.of(0, 1, 2) };
  const own = { name: 'own', score: async () => ({ scores: Float32Array.of(0.5, 0.5), tokens: 3 }) };
  for (const model of [prm, own]) expect([...(await prl.scoreSteps(model, batch)).scores]).toEqual([0.5, 0.5]);
});
