// A child process of the crash tests: trains on the echo task in the folder given, resuming what is there.
//   node --import tsx echo-run.ts FOLDER STEPS table|native
import { Policy } from '../../lib/index.js';
import { Trainer } from '../../lib/train/trainer.js';
import { echoTask } from './echo-task.js';
import { nativePolicy } from './native-policy.js';
import { TablePolicy } from './table-policy.js';

const [output, steps, kind] = process.argv.slice(2);
const table = kind === 'table';
const trainer = new Trainer({
  policy: table ? new TablePolicy(echoTask.tokenizer.vocabSize) : nativePolicy(echoTask),
  loadPolicy: table ? TablePolicy.load : Policy.load,
  task: echoTask,
  output,
  resume: true,
  maxSteps: Number(steps),
  saveSteps: 3,
  promptsPerStep: 4,
  numGenerations: 4,
  maxCompletionLength: 4,
  learningRate: table ? 5 : 1e-2,
  seed: 7,
});
process.stdout.write('ready\n');
for await (const { step } of trainer.run()) process.stdout.write(`${step}\n`);
