// A child process of the crash tests: collects data for a process reward model, going on with what is there.
//   node --import tsx prm-collect.ts FILE PROBLEMS
import { collectPrmData } from '../../lib/index.js';
import { echoTask } from './echo-task.js';
import { nativePolicy } from './native-policy.js';

const [output, problems] = process.argv.slice(2);
const options = {
  policy: nativePolicy(echoTask),
  model: 'tiny',
  task: echoTask,
  output,
  problems: Number(problems),
  n: 2,
  continuations: 4,
  split: 'train' as const,
  level: 'all',
  maxCompletionLength: 40,
  temperature: 1,
  stepSplit: 'length' as const,
  stepLength: 4,
  seed: 3,
};
for await (const { done } of collectPrmData(options)) process.stdout.write(`${done}\n`);
