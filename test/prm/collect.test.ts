import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type CollectOptions, collectPrmData, PrlError, readPrmData } from '../../lib/index.js';
import { packageRoot } from '../../lib/kernels/native.js';
import type { Completion, GenerateOptions } from '../../lib/policy/types.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { rejectsWith } from '../policy/rejects.js';
import { random } from '../reference/numbers.js';

const root = mkdtempSync(join(tmpdir(), 'prl-collect-'));
let count = 0;
const newFile = () => join(root, `${count++}.jsonl`);
const { tokenizer } = echoTask;
const EOS = tokenizer.eosTokenId;

const OPTIONS = {
  model: 'tiny',
  task: echoTask,
  n: 2,
  continuations: 4,
  split: 'train',
  level: 'all',
  maxCompletionLength: 12,
  temperature: 1,
  stepSplit: 'length',
  stepLength: 2,
  seed: 3,
} as const;

async function collect(options: Partial<CollectOptions> & Pick<CollectOptions, 'policy' | 'output' | 'problems'>) {
  const progress = [];
  for await (const now of collectPrmData({ ...OPTIONS, ...options })) progress.push(now);
  return progress;
}

/** Answers as `respond` says: to a prompt that may hold a part of a response, continuation `sample` of it. */
function scripted(respond: (text: string, sample: number) => string, positions = 1000) {
  const calls: { prompts: string[]; options: GenerateOptions }[] = [];
  const generate = async (prompts: ArrayLike<number>[], options: GenerateOptions) => {
    const texts = prompts.map((ids) => tokenizer.decode(ids));
    calls.push({ prompts: texts, options });
    return texts.map((text, p) => {
      if (prompts[p].length + options.maxNewTokens > positions) throw new Error('too long');
      return {
        completions: Array.from({ length: options.n ?? 1 }, (_, sample): Completion => {
          const all = [...tokenizer.encode(respond(text, sample)), EOS];
          const tokens = Int32Array.from(all.slice(0, options.maxNewTokens));
          const finishReason = all.length <= options.maxNewTokens ? 'stop' : 'length';
          return { tokens, finishReason, logProbs: new Float32Array(tokens.length) };
        }),
      };
    });
  };
  const config = { ...nativePolicy(echoTask).config, max_position_embeddings: positions };
  return { policy: { generate, config }, calls };
}

const tests = suite('collectPrmData');
tests.after(() => rmSync(root, { recursive: true, force: true }));

tests('collect counts the right continuations of each prefix, and the last step is the outcome', async () => {
  // The prompt is a digit and so is the answer: a task that takes the last digit of the response.
  const task = {
    ...echoTask,
    verify: ({ answer }: { answer: string }, response: string, finished: boolean) =>
      finished && response.endsWith(answer) ? 1 : 0,
  };
  // Responses of 5 tokens and the end, in steps of 2: after 2 tokens one of four continuations ends right, after 4
  // three do.
  const { policy } = scripted((text, sample) => {
    const [digit, part] = [text[0], text.slice(1)];
    const wrong = String((Number(digit) + 1) % 10);
    if (part === '') return `1234${sample === 0 ? digit : wrong}`;
    return `${'1234'.slice(part.length)}${sample < part.length - 1 ? digit : wrong}`;
  });
  const output = newFile();
  const progress = await collect({ policy, task, output, problems: 3 });
  assert.equal(progress[0], { done: 0, total: 3, prefixes: 0, tokens: 0 });
  // 2 responses of 6 tokens; 4 continuations each of 4 and of 2 tokens.
  assert.equal(progress[1], { done: 3, total: 3, prefixes: 18, tokens: 3 * 2 * (6 + 4 * 4 + 4 * 2) });
  const { settings, problems } = await readPrmData(output);
  assert.is(settings.task, 'echo');
  assert.is(settings.continuations, 4);
  for (const [i, { problem, prompt, responses }] of problems.entries()) {
    assert.is(problem, i);
    assert.equal(prompt, [...tokenizer.encode(echoTask.problem(i, { seed: 3, split: 'train' }).prompt)]);
    assert.equal(
      responses.map(({ steps, right }) => ({ steps, right })),
      [
        { steps: [0, 2, 4], right: [1, 3, 4] },
        { steps: [0, 2, 4], right: [1, 3, 0] },
      ],
    );
    assert.is(responses[0].tokens[5], EOS);
  }
});

tests('maxCompletionLength limits prefix and continuation together, and an unfinished one is wrong', async () => {
  const task = { ...echoTask, verify: (_: object, __: string, finished: boolean) => (finished ? 1 : 0) };
  // First responses never end. After k tokens continuation j ends after 2 + 3 j more, the end included.
  const { policy, calls } = scripted((text, sample) => '7'.repeat(text.length === 1 ? 50 : 1 + 3 * sample));
  const output = newFile();
  await collect({ policy, task, output, problems: 1, n: 1, stepLength: 4 });
  const [{ responses }] = (await readPrmData(output)).problems;
  assert.is(responses[0].tokens.length, 12);
  // 8 tokens are left after the first step: those of 2, 5 and 8; 4 after the second: that of 2.
  assert.equal(responses[0].right, [3, 1, 0]);
  assert.is(calls[1].options.maxNewTokens, 8, 'no more than the shortest prefix can use');
  assert.equal(calls[1].options.stop, [EOS]);
});

tests('prefixes that do not fit in the model together are drawn apart with the same result', async () => {
  const task = { ...echoTask, verify: (_: object, __: string, finished: boolean) => (finished ? 1 : 0) };
  const respond = (text: string, sample: number) => '7'.repeat(text.length === 1 ? 50 : 1 + 3 * sample);
  const files = [1000, 13].map((positions) => ({ ...scripted(respond, positions), output: newFile() }));
  for (const { policy, output } of files) await collect({ policy, task, output, problems: 2 });
  assert.is(readFileSync(files[1].output, 'utf8'), readFileSync(files[0].output, 'utf8'));
  assert.ok(files[1].calls.length > files[0].calls.length);
});

tests('a file cut anywhere is completed to the same bytes, and more problems may be added', async () => {
  const policy = nativePolicy(echoTask);
  const whole = newFile();
  await collect({ policy, output: whole, problems: 40 });
  const text = readFileSync(whole);
  const lines = text.toString().trimEnd().split('\n');
  assert.is(lines.length, 41);
  const next = random(1);
  const header = lines[0].length + 1;
  for (let i = 0; i < 12; i++) {
    const at = i === 0 ? text.length - 1 : header + Math.floor(next() * (text.length - header));
    const broken = newFile();
    writeFileSync(broken, text.subarray(0, at) as Uint8Array<ArrayBuffer>);
    await collect({ policy, output: broken, problems: 40 });
    assert.is(readFileSync(broken, 'utf8'), text.toString(), `cut at ${at}`);
  }
  const grown = newFile();
  await collect({ policy, output: grown, problems: 5 });
  const progress = await collect({ policy, output: grown, problems: 40 });
  assert.is(progress[0].done, 5);
  assert.is(readFileSync(grown, 'utf8'), text.toString());
  assert.equal(await collect({ policy, output: grown, problems: 10 }).then((all) => all.length), 1, 'enough is there');
});

tests('a collection killed at random moments ends with the same file', async () => {
  const [whole, broken] = [newFile(), newFile()];
  const child = fileURLToPath(new URL('../fakes/prm-collect.ts', import.meta.url));
  const { FORCE_COLOR: _, NO_COLOR: __, ...env } = process.env;
  const next = random(7);
  const run = (file: string, patience: number) =>
    new Promise<string | number | null>((resolve) => {
      const stdio = ['ignore', 'pipe', 'inherit'] as const;
      const process_ = spawn(process.execPath, [...process.execArgv, child, file, '96'], {
        cwd: packageRoot,
        env,
        stdio: [...stdio],
      });
      let seen = 0;
      process_.stdout.on('data', (data) => {
        seen += String(data).split('\n').length - 1;
        if (seen > patience) setTimeout(() => process_.kill('SIGKILL'), 30 * next());
      });
      process_.once('exit', (code, signal) => resolve(signal ?? code));
    });
  assert.is(await run(whole, Infinity), 0);
  let kills = 0;
  for (let round = 0; (await run(broken, round < 4 ? round % 2 : Infinity)) === 'SIGKILL'; round++) kills++;
  assert.ok(kills >= 1, 'it was never killed');
  assert.is(readFileSync(broken, 'utf8'), readFileSync(whole, 'utf8'));
  assert.not.ok(existsSync(`${broken}.lock`));
});

tests('steps may end after strings or token ids, and other ones are refused on resume', async () => {
  const policy = nativePolicy(echoTask);
  const split = { stepSplit: 'strings', stepStrings: ['1', '\n'] } as const;
  const files = [newFile(), newFile()];
  const ids = [...tokenizer.encode('1\n')];
  await collect({ policy, output: files[0], problems: 8, ...split });
  await collect({ policy, output: files[1], problems: 8, stepSplit: 'tokens', stepTokens: ids });
  const [byStrings, byTokens] = await Promise.all(files.map(readPrmData));
  assert.equal(byStrings.settings.stepStrings, split.stepStrings);
  assert.equal(byStrings.problems, byTokens.problems, 'a character is a token here');
  const steps = byStrings.problems.flatMap(({ responses }) => responses);
  assert.ok(steps.some((response) => response.steps.length > 1));
  for (const { tokens, steps: begins } of steps)
    assert.equal(
      begins.slice(1),
      tokens.flatMap((id, t) => (ids.includes(id) && t + 1 < tokens.length ? [t + 1] : [])),
    );
  await rejectsWith(
    collect({ policy, output: files[0], problems: 9, stepSplit: 'strings', stepStrings: ['2'] }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /with stepStrings \["1","\\n"\], not \["2"\]/,
  );
  await rejectsWith(
    collect({ policy, output: newFile(), problems: 1, stepSplit: 'strings' }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /needs stepStrings/,
  );
});

tests('wrong counts are refused before anything is written', async () => {
  const policy = nativePolicy(echoTask);
  const output = newFile();
  for (const name of ['problems', 'n', 'continuations', 'maxCompletionLength'])
    for (const value of [0, 1.5, Number.NaN])
      await rejectsWith(
        collect({ policy, output, problems: 1, [name]: value }),
        RangeError,
        'ERR_PRL_OUT_OF_RANGE',
        new RegExp(`^${name} must be an integer from 1`),
      );
  assert.not.ok(existsSync(output));
});

tests('other settings are refused, and a second process is ERR_PRL_BUSY', async () => {
  const policy = nativePolicy(echoTask);
  const output = newFile();
  await collect({ policy, output, problems: 1 });
  const usage = [TypeError, 'ERR_PRL_INVALID_ARGUMENT'] as const;
  await rejectsWith(collect({ policy, output, problems: 2, seed: 4 }), ...usage, /with seed 3, not 4/);
  await rejectsWith(
    collect({ policy, output, problems: 2, model: 'other' }),
    ...usage,
    /with model "tiny", not "other"/,
  );
  const first = collectPrmData({ ...OPTIONS, policy, output, problems: 2 });
  await first.next();
  await rejectsWith(collect({ policy, output, problems: 2 }), PrlError, 'ERR_PRL_BUSY', /is working in/);
  await first.return();
  await collect({ policy, output, problems: 2 });
});

tests('a wrong data file is refused by line', async () => {
  const policy = nativePolicy(echoTask);
  const whole = newFile();
  await collect({ policy, output: whole, problems: 3 });
  const lines = readFileSync(whole, 'utf8').trimEnd().split('\n');
  const reads = (change: (lines: string[]) => string[], message: RegExp) => {
    const file = newFile();
    writeFileSync(file, `${change([...lines]).join('\n')}\n`);
    return rejectsWith(readPrmData(file), PrlError, 'ERR_PRL_CORRUPT', message);
  };
  // biome-ignore lint/suspicious/noExplicitAny: lines are spoiled in every way
  const edit = (at: number, change: (value: any) => unknown) => (all: string[]) => {
    const value = JSON.parse(all[at]);
    all[at] = JSON.stringify(change(value) ?? value);
    return all;
  };
  await rejectsWith(readPrmData(join(root, 'nowhere')), PrlError, 'ERR_PRL_IO', /cannot read/);
  await reads(() => [''], /:1: it is not JSON: /);
  await reads(() => ['{}'], /:1: the format must be '.*' \(data of prl prm collect\), not undefined/);
  await reads(
    edit(0, (h) => void (h.version = 2)),
    /:1: the version must be 1, not 2/,
  );
  await reads(
    edit(0, (h) => void (h.continuations = 0)),
    /:1: continuations/,
  );
  await reads((all) => [all[0], all[1].slice(0, -3), all[2]], /:2: it is not JSON: /);
  await reads(
    edit(2, () => [1]),
    /:3: it does not hold an object/,
  );
  await reads(
    edit(1, (p) => void (p.prompt = [])),
    /:2: prompt must hold token ids/,
  );
  await reads(
    edit(1, (p) => void (p.prompt[0] = -1)),
    /:2: prompt/,
  );
  await reads(
    edit(1, (p) => void (p.responses = 3)),
    /:2: responses must be an array/,
  );
  await reads(
    edit(1, (p) => void (p.responses[1] = null)),
    /:2: responses\[1\]\.tokens/,
  );
  await reads(
    edit(1, (p) => void (p.responses[0].steps = [1])),
    /:2: responses\[0\]\.steps must rise from 0/,
  );
  await reads(
    edit(1, (p) => void (p.responses[0].steps = [0, 99])),
    /responses\[0\]\.steps/,
  );
  await reads(
    edit(1, (p) => void p.responses[0].right.push(0)),
    /responses\[0\]\.right must hold/,
  );
  await reads(
    edit(1, (p) => void (p.responses[0].right[0] = 5)),
    /responses\[0\]\.right must hold .* from 0 to 4/,
  );
  // The order of the problems matters to who goes on with it.
  const swapped = newFile();
  writeFileSync(swapped, `${[lines[0], lines[2], lines[1]].join('\n')}\n`);
  await rejectsWith(
    collect({ policy, output: swapped, problems: 3 }),
    PrlError,
    'ERR_PRL_CORRUPT',
    /expected problem 0, not 1/,
  );
});
tests.run();
