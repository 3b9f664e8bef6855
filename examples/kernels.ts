// The kernels inside a trainer of your own: here the "model" is a table of logits, one row per position, and the update is plain
// gradient descent. Put your network where `table` is.
import { groupAdvantages, policyLossFromLogits, prlAdvantages, splitSteps, Tensor, tokenLogProbs } from 'prl-node';

// Four responses to one prompt, packed one after the other; two of them are right.
const texts = [['1+2', '=3\n', '#3'], ['#4'], ['2+1', '=3\n', '#3'], ['1+2', '=5\n', '#5']];
const cuSeqlens = Int32Array.of(0, 3, 4, 7, 10);
const targets = Int32Array.of(5, 9, 2, 7, 5, 9, 2, 5, 8, 4);
const rewards = Float32Array.of(1, 0, 1, 0);
const cuSteps = splitSteps(texts, { kind: 'newline' }); // [0, 2, 3, 4, 6, 7, 9, 10]

const table = new Float32Array(10 * 12); // [tokens, vocab]
const oldLogProbs = tokenLogProbs(Tensor.from(table.slice(), [10, 12]), targets).logProbs;
const refLogProbs = (oldLogProbs.data as Float32Array).map((x, t) => x + (t % 3) / 10); // your frozen reference

const outcomeAdvantages = groupAdvantages(rewards, [0, 0, 0, 0], { kind: 'grpo' });
const advantages = prlAdvantages({ outcomeAdvantages, oldLogProbs, refLogProbs, cuSeqlens, cuSteps, eta: 200 });

for (let step = 1; step <= 3; step++) {
  const logits = Tensor.from(table.slice(), [10, 12]);
  const { loss, metrics } = policyLossFromLogits({
    logits,
    targets,
    advantages,
    cuSeqlens,
    oldLogProbs,
    gradient: 'inplace',
  });
  const dLogits = logits.data as Float32Array; // the gradient has taken the logits' place: the row was read once
  for (let i = 0; i < table.length; i++) table[i] -= 2 * dLogits[i];
  console.log(
    `step ${step}: loss ${loss.toFixed(4)}, mean ratio ${metrics.ratioMean.toFixed(3)}, entropy ${metrics.entropy.toFixed(3)}`,
  );
}
