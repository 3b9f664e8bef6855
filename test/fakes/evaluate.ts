// A child process of the crash tests: evaluates a policy, going on with what is there.
//   node --import tsx evaluate.ts FILE
import { evaluateDatasets } from '../../lib/index.js';
import { digitSets, lastDigit } from './digits.js';
import { echoTask } from './echo-task.js';
import { nativePolicy } from './native-policy.js';

const result = await evaluateDatasets({
  sets: digitSets(60, 40),
  verifier: lastDigit,
  policy: nativePolicy(echoTask),
  tokenizer: echoTask.tokenizer,
  n: 4,
  maxCompletionLength: 60,
  chunkSize: 4,
  seed: 3,
  identity: { model: 'tiny' },
  records: process.argv[2],
  resume: true,
  onProgress: ({ problems }) => process.stdout.write(`${problems}\n`),
});
const { seconds: _, ...figures } = result;
process.stdout.write(`${JSON.stringify(figures)}\n`);
