// What prl train shows of a run: a prompt, a response, and that all rewards are equal.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EqualRewards, promptPreview, responsePreview } from '../../lib/cli/train/preview.js';
import { datasetTask } from '../../lib/tasks/dataset.js';
import { mathVerifier } from '../../lib/tasks/verify/math.js';
import { Trainer } from '../../lib/train/trainer.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { TablePolicy } from '../fakes/table-policy.js';

const tokenizer = bpeTokenizer({ chat: true });
const taskOf = (problem: string, extraction: 'any' | 'boxed' = 'any') => {
  const verifier = mathVerifier({ extraction });
  const train = {
    name: 't',
    fingerprint: '',
    problems: [{ prompt: problem, answer: '7' }],
    prompt: { promptTemplate: 'chat' },
  };
  return datasetTask({ tokenizer, train: train as never, verifier });
};
const stepOf = (text: string, reward = 0, finished = true) =>
  ({
    step: 1,
    rollout: {
      problems: [{ prompt: 'p', answer: '7' }],
      texts: [text, 'other'],
      rewards: Float32Array.of(reward, 1),
      finished: [finished, true],
      completions: [new Int32Array(12), new Int32Array(1)],
    },
  }) as never;

const preview = suite('prl train: preview');
preview('the prompt is shown with its special tokens, and a long one without its middle', () => {
  const options = new Trainer({ policy: new TablePolicy(tokenizer.vocabSize), task: taskOf('1 + 1') }).options;
  assert.is(
    promptPreview(taskOf('1 + 1'), options).replace(/\(\d+ tokens\)/, '(N tokens)'),
    `the first prompt as the model sees it (N tokens):
             <|im_start|>user
             1 + 1<|im_end|>
             <|im_start|>assistant`,
  );
  const long = promptPreview(taskOf(`begin ${'x'.repeat(10_000)} end`), options);
  assert.ok(long.length < 900, long);
  assert.match(long, /user\n +begin x+ \[\.\.\. \d{4} characters \.\.\.\] x+ end<\|im_end\|>/);
});
preview('the response is shown with what was extracted, the gold answer and the reward', () => {
  assert.is(
    responsePreview(taskOf('p'), stepOf('So it is\n\u001b[31m5.', 0.5, false)),
    `the first response (12 tokens, cut off):
             So it is
             \\u{1b}[31m5.
extracted    5
gold answer  7
reward       0.5, mean of the step 0.750`,
  );
  const none = responsePreview(taskOf('p', 'boxed'), stepOf(''));
  assert.match(none, /ended by itself\):\n +\(nothing\)\nextracted +\(no answer\)\n/);
  const plain = datasetTask({ tokenizer, train: [{ prompt: 'p', answer: '7' }], verifier: () => 0 });
  assert.not.match(responsePreview(plain, stepOf('x')), /extracted/, 'a verifier that extracts nothing');
});
preview('equal rewards are warned about once they come twice in a row', () => {
  const equal = new EqualRewards(true);
  const warned = [
    [0, 0],
    [0, 1],
    [0, 0],
    [0, 0],
    [0, 0],
    [1, 0],
    [1, 1],
    [1, 1],
  ].map((rewards, i) => equal.warning({ step: i + 1, rollout: { rewards: Float32Array.from(rewards) } } as never));
  assert.equal(
    warned.map((text) => text !== undefined),
    [false, false, false, true, false, false, false, true],
  );
  assert.match(
    warned[3]!,
    /all rewards were 0 in steps 3 and 4.*--extraction.*--prompt-template.*--max-completion-length/,
  );
  assert.match(warned[7]!, /all rewards were 1 in steps 7 and 8.*too easy/);
});
preview.run();
