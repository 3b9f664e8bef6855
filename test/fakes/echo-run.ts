// A child process of the crash tests: trains the table on the echo task in the folder given, resuming what is there.
//   tsx echo-run.ts FOLDER STEPS
import { Trainer } from '../../lib/train/trainer.js';
import { echoTask } from './echo-task.js';
import { TablePolicy } from './table-policy.js';

const [output, steps] = process.argv.slice(2);
const trainer = new Trainer({
  policy: new TablePolicy(echoTask.tokenizer.vocabSize),
  task: echoTask,
  output,
  resume: true,
  loadPolicy: TablePolicy.load,
  maxSteps: Number(steps),
  saveSteps: 3,
  promptsPerStep: 4,
  numGenerations: 4,
  maxCompletionLength: 4,
  learningRate: 5,
  seed: 7,
});
process.stdout.write('ready\n');
for await (const { step } of trainer.run()) process.stdout.write(`${step}\n`);
