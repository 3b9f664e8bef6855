// Values of another realm, as the test files of Jest and of vitest's vmThreads pass them: `instanceof` is false for
// them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runInNewContext } from 'node:vm';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkSignal, describe } from '../lib/base/options.js';
import {
  ArithmeticTask,
  FunctionPrm,
  functionVerifier,
  groupAdvantages,
  PrlError,
  policyLossFromLogits,
  regexVerifier,
  scoreSteps,
  Tensor,
  tokenLogProbs,
} from '../lib/index.js';
import { packageRoot } from '../lib/kernels/native.js';
import { rejectsWith } from './policy/rejects.js';

// biome-ignore lint/suspicious/noExplicitAny: it runs JavaScript
const foreign = (source: string): any => runInNewContext(`(${source})`, { AbortController: undefined });

const realm = suite('values of another realm');

realm('typed arrays are read and written in place', async () => {
  const array = foreign('Float32Array.of(1, 2, 3, 4, 0, 0, 0, 0)');
  assert.not(array instanceof Float32Array);
  const logits = Tensor.from(array, [2, 4]);
  assert.is(logits.data, array, 'no copy');
  const batch = {
    targets: foreign('Int32Array.of(0, 3)'),
    advantages: foreign('Float32Array.of(1, -0.5)'),
    cuSeqlens: foreign('Int32Array.of(0, 1, 2)'),
  };
  const { loss } = policyLossFromLogits({ logits, ...batch, gradient: 'inplace' });
  assert.is(loss, -0.25);
  assert.not.equal(array[0], 1, 'the gradient is in the array');
  assert.instance(await logits.read(), Float32Array);
  assert.equal(
    [...tokenLogProbs(Tensor.from(foreign('new Float32Array(4)'), [1, 4]), foreign('[1]')).logProbs.data],
    [Math.fround(-Math.log(4))],
  );
});

realm('every kind of array is told by its kind', () => {
  assert.is(Tensor.from(foreign('Int32Array.of(1)')).dtype, 'int32');
  const bits = foreign('Uint16Array.of(0x3f80)');
  assert.is(Tensor.from(bits, [1], { dtype: 'bfloat16' }).data, bits);
  assert.equal([...Tensor.from(foreign('Float64Array.of(0.5)')).data], [0.5]);
  assert.equal([...Tensor.from(foreign('[0.5]')).data], [0.5]);
  assert.equal([...groupAdvantages(foreign('[1, 0]'), foreign('[0, 0]'), { std: 'none' }).data], [0.5, -0.5]);
  assert.is(describe(foreign('new Int8Array(1)')), 'an Int8Array');
  assert.is(describe(foreign('new DataView(new ArrayBuffer(1))')), 'a DataView');
});

realm('what a tensor refuses, it refuses there', () => {
  const refuses = (source: string, message: RegExp) => assert.throws(() => Tensor.from(foreign(source)), message);
  refuses('new Float32Array(new SharedArrayBuffer(8))', /backed by a SharedArrayBuffer/);
  refuses('BigInt64Array.of(1n)', /data\[0\] must be a number, not the bigint 1/);
  refuses('Object.create(Float32Array.prototype)', /must be an array of numbers, not an object/);
  refuses('new Proxy(new Float32Array(1), {})', /must be an array of numbers, not an object/);
});

realm('expressions, errors, scores and files', async () => {
  assert.is(
    await regexVerifier({ pattern: foreign('/= (\\d+)/') })('1 + 1 = 2', '2', { prompt: '', finished: true }),
    1,
  );
  const failing = functionVerifier(foreign('() => { throw new RangeError("out of cheese"); }'), { name: 'mine' });
  await rejectsWith(
    Promise.resolve(failing('1', '1', { prompt: '1?', finished: true })),
    PrlError,
    'ERR_PRL_VERIFIER',
    /'mine' .*: out of cheese/,
  );
  const { tokenizer } = new ArithmeticTask();
  const batch = foreign(
    '{ prompts: [Int32Array.of(1)], completions: [Int32Array.of(1)], cuSteps: Int32Array.of(0, 1) }',
  );
  const prm = new FunctionPrm(foreign('() => Float32Array.of(0.5)'), { tokenizer });
  const own = foreign('{ name: "own", score: async () => ({ scores: Float32Array.of(0.5), tokens: 1 }) }');
  for (const model of [prm, own]) assert.equal([...(await scoreSteps(model, batch)).scores], [0.5]);
});

realm('a signal of another class ends the call', async () => {
  // As jsdom's: events, but not node's class.
  const target = new EventTarget();
  const signal = Object.assign(target, { aborted: false, reason: undefined as unknown }) as AbortSignal;
  const own = checkSignal(signal)!;
  assert.instance(own, AbortSignal);
  assert.is(checkSignal(signal), own, 'one listener, however many calls');
  Object.assign(target, { aborted: true, reason: new Error('enough') });
  target.dispatchEvent(new Event('abort'));
  assert.is((own.reason as Error).message, 'enough');
  const prm = new FunctionPrm(() => [0.5], { tokenizer: new ArithmeticTask().tokenizer });
  const batch = { prompts: [Int32Array.of(1)], completions: [Int32Array.of(1)], cuSteps: Int32Array.of(0, 1) };
  await rejectsWith(scoreSteps(prm, { ...batch, signal }), PrlError, 'ERR_PRL_ABORTED', /aborted/);
  assert.throws(() => checkSignal({ aborted: false }), /signal must be an AbortSignal/);
});

realm('an error of another copy of the package is a PrlError; other errors are not', async () => {
  const copy: typeof import('../lib/base/errors.js') = await import(
    `${pathToFileURL(join(packageRoot, 'dist/lib/base/errors.js'))}`
  );
  const error = new copy.PrlError('ERR_PRL_BUSY', 'busy');
  assert.is.not(copy.PrlError, PrlError);
  assert.instance(error, PrlError);
  class Heir extends PrlError {}
  assert.not(error instanceof Heir);
  assert.instance(new Heir('ERR_PRL_BUSY', 'busy'), Heir);
  for (const other of [new Error('busy'), copy.invalidArgument('wrong'), null, 'ERR_PRL_BUSY'])
    assert.not((other as unknown) instanceof PrlError);
});

realm('no code asks for a class of the language by instanceof', () => {
  // These ask whether a value is of this realm.
  const meant = ['kernels/native.ts: Error', 'kernels/native.ts: Object', 'base/options.ts: AbortSignal'];
  const lib = join(packageRoot, 'lib');
  const found = readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => {
      const code = readFileSync(join(lib, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
      return [...code.matchAll(/\binstanceof (\w+)/g)].map(([, name]) => ({ file, name }));
    })
    .filter(({ name }) => name in globalThis)
    .map(({ file, name }) => `${file}: ${name}`);
  assert.equal(found.sort(), meant.sort());
});

realm.run();
