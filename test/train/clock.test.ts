// Chat templates that tell the date: a run, a collection and an evaluation that are resumed keep their clock.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { collectPrmData, datasetTask, evaluateDatasets, readPrmData, Tokenizer, Trainer } from '../../lib/index.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';

const root = mkdtempSync(join(tmpdir(), 'prl-clock-'));
const read = (file: string) => JSON.parse(readFileSync(file, 'utf8'));
const problems = [
  { prompt: 'What is 2 + 2?', answer: '4' },
  { prompt: 'What is 3 + 3?', answer: '6' },
];
/** As a new process would load it, with a template that tells the date. */
async function dated(): Promise<Tokenizer> {
  const folder = join(root, 'tokenizer');
  if (!existsSync(folder)) {
    mkdirSync(folder);
    await bpeTokenizer({ chat: true }).save(folder);
    const template = "{{ strftime_now('%-d %B %Y') }}: {{ messages[-1].content }}";
    writeFileSync(join(folder, 'chat_template.jinja'), template);
  }
  return Tokenizer.load(folder);
}
const setOf = () => ({ name: 'sums', problems, prompt: { promptTemplate: 'chat' }, fingerprint: 'x' });

/** Runs a trainer to a step, and returns the prompts and the warnings. */
async function train(output: string, maxSteps: number, tokenizer: Tokenizer) {
  const warnings: string[] = [];
  const policy = new TablePolicy(tokenizer.vocabSize);
  const trainer = new Trainer({
    ...{ policy, task: datasetTask({ tokenizer, train: { ...setOf(), report: {} as never } }), output, resume: true },
    ...{ promptsPerStep: 2, numGenerations: 2, maxCompletionLength: 3, maxSteps, lrSchedulerType: 'constant' },
    loadPolicy: (path) => TablePolicy.load(path),
    onWarning: (message) => warnings.push(message),
  });
  const prompts: string[] = [];
  for await (const { rollout } of trainer.run()) prompts.push(...rollout.prompts.map((ids) => tokenizer.decode(ids)));
  return { prompts, warnings };
}
const edit = (output: string, change: (config: { trainer: { clock?: string } }) => void) => {
  const file = join(output, 'config.json');
  const config = read(file);
  change(config);
  writeFileSync(file, JSON.stringify(config));
};

const clocks = suite('The clock of resumable work');
clocks('a resumed run tells the date of its first start, and refuses another', async () => {
  const output = join(root, 'run');
  const first = await dated();
  first.clock = '2024-07-26';
  const { prompts } = await train(output, 1, first);
  assert.is(read(join(output, 'config.json')).trainer.clock, '2024-07-26');
  assert.ok(prompts.every((prompt) => prompt.startsWith('26 July 2024: What is')));
  const again = await dated();
  const { prompts: later, warnings } = await train(output, 2, again);
  assert.equal(warnings, []);
  assert.is(again.clock, '2024-07-26');
  assert.ok(later.length > 0 && later.every((prompt) => prompt.startsWith('26 July 2024: What is')));
  const other = await dated();
  other.clock = '2025-01-01';
  await rejectsWith(
    train(output, 3, other),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /clock "2024-07-26", not "2025-01-01"/,
  );
});
clocks('a new run keeps the time when the process started', async () => {
  const output = join(root, 'new');
  const tokenizer = await dated();
  await train(output, 1, tokenizer);
  assert.is(read(join(output, 'config.json')).trainer.clock, tokenizer.clock);
});
clocks('an older run without a clock tells when its base was written, and says so once', async () => {
  const output = join(root, 'old');
  await train(output, 1, await dated());
  edit(output, ({ trainer }) => delete trainer.clock);
  const written = new Date(2021, 2, 4, 5, 6, 7);
  utimesSync(join(output, 'base', 'tokenizer.json'), written, written);
  const { prompts, warnings } = await train(output, 2, await dated());
  assert.ok(prompts.length > 0 && prompts.every((prompt) => prompt.startsWith('4 March 2021: ')));
  assert.is(warnings.length, 1);
  assert.match(warnings[0], /kept no clock .*2021-03-04T05:06:07/);
  assert.is(read(join(output, 'config.json')).trainer.clock, '2021-03-04T05:06:07.000');
  assert.equal((await train(output, 3, await dated())).warnings, []);
});
clocks('a model without such a template keeps no clock', async () => {
  const output = join(root, 'timeless');
  await train(output, 1, bpeTokenizer({ chat: true }));
  assert.not.ok('clock' in read(join(output, 'config.json')).trainer);
});

const headerOf = (file: string) => JSON.parse(readFileSync(file, 'utf8').split('\n')[0]);
const editHeader = (file: string, change: (header: { clock?: string }) => void) => {
  const [first, ...rest] = readFileSync(file, 'utf8').split('\n');
  const header = JSON.parse(first);
  change(header);
  writeFileSync(file, [JSON.stringify(header), ...rest].join('\n'));
};
clocks('a resumed collection tells the date of its first start', async () => {
  const output = join(root, 'prm.jsonl');
  const collect = async (total: number, tokenizer: Tokenizer) => {
    const task = datasetTask({ tokenizer, train: { ...setOf(), report: {} as never } });
    const policy = new TablePolicy(tokenizer.vocabSize);
    const collection = collectPrmData({
      ...{
        policy,
        model: 'table',
        task,
        output,
        problems: total,
        n: 1,
        continuations: 1,
        split: 'train',
        level: 'all',
      },
      ...{ maxCompletionLength: 3, temperature: 1, stepSplit: 'length', stepLength: 2, seed: 3 },
    });
    for await (const _ of collection);
  };
  await collect(1, await dated());
  editHeader(output, (header) => {
    header.clock = '2024-07-26';
  });
  const tokenizer = await dated();
  await collect(2, tokenizer);
  const { problems } = await readPrmData(output);
  assert.match(tokenizer.decode(problems[1].prompt), /^26 July 2024: /);
  const other = await dated();
  other.clock = '2025-01-01';
  await rejectsWith(collect(2, other), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /clock/);
  editHeader(output, (header) => delete header.clock);
  await collect(2, await dated());
});
clocks('a resumed evaluation tells the date of its first start, and its settings hold it', async () => {
  const records = join(root, 'eval.jsonl');
  const evaluate = (tokenizer: Tokenizer, resume: boolean) => {
    const policy = new TablePolicy(tokenizer.vocabSize);
    const sampling = { n: 1, maxCompletionLength: 3 };
    return evaluateDatasets({ sets: [setOf()], verifier: 'exact', policy, tokenizer, records, resume, ...sampling });
  };
  const first = await dated();
  const { settings } = await evaluate(first, false);
  assert.is(settings.clock, first.clock);
  assert.is(headerOf(records).clock, first.clock);
  editHeader(records, (header) => {
    header.clock = '2024-07-26';
  });
  assert.is((await evaluate(await dated(), true)).settings.clock, '2024-07-26');
});
clocks.after(() => rmSync(root, { recursive: true, force: true }));
clocks.run();
