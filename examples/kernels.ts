// A trainer of your own around the kernels. The "network" is a table: the logits of the next digit, for each digit
// before it. From rewards alone it learns to count on from any digit. Replace `table` by your network; the rest can
// stay.
import { groupAdvantages, policyLossFromLogits, prlAdvantages, splitSteps, Tensor, tokenLogProbs } from 'prl-node';

const [DIGITS, GROUP, LENGTH] = [10, 16, 4];
const table = new Float32Array(DIGITS * DIGITS);
const row = (digit: number) => table.subarray(digit * DIGITS, (digit + 1) * DIGITS);

function sample(logits: Float32Array): number {
  const weights = logits.map(Math.exp);
  let rest = Math.random() * weights.reduce((sum, weight) => sum + weight);
  return weights.findIndex((weight) => (rest -= weight) < 0);
}

for (let step = 1; step <= 40; step++) {
  // Rollout: 16 responses to each prompt, packed one after the other. The reward is the share of digits that count on.
  const responses: number[][] = [];
  const before: number[] = [];
  const rewards: number[] = [];
  const groups: number[] = [];
  for (let prompt = 0; prompt < DIGITS; prompt++)
    for (let i = 0; i < GROUP; i++) {
      const digits = [prompt];
      for (let t = 0; t < LENGTH; t++) digits.push(sample(row(digits[t]!)));
      before.push(...digits.slice(0, LENGTH));
      responses.push(digits.slice(1));
      rewards.push(digits.slice(1).filter((digit, t) => digit === (prompt + t + 1) % DIGITS).length / LENGTH);
      groups.push(prompt);
    }
  const targets = Int32Array.from(responses.flat());
  const cuSeqlens = Int32Array.from({ length: rewards.length + 1 }, (_, i) => i * LENGTH);

  // Forward. The reference is the policy before training: all digits are equally likely.
  const logits = Tensor.from(Float32Array.from(before.flatMap((digit) => [...row(digit)])), [targets.length, DIGITS]);
  const oldLogProbs = tokenLogProbs(logits, targets).logProbs;
  const refLogProbs = new Float32Array(targets.length).fill(-Math.log(DIGITS));

  // Credit of each token: PRL with steps of one token, which is FRPO with beta 1 / eta. Then loss and gradient in one
  // pass over the logits.
  const outcomeAdvantages = groupAdvantages(rewards, groups, { kind: 'grpo' });
  const cuSteps = splitSteps(responses, { kind: 'length', length: 1 });
  const advantages = prlAdvantages({ outcomeAdvantages, oldLogProbs, refLogProbs, cuSeqlens, cuSteps, eta: 100 });
  const batch = { targets, advantages, cuSeqlens, oldLogProbs };
  const { metrics } = policyLossFromLogits({ logits, ...batch, gradient: 'inplace' });

  // Backward: logits.data is now d loss / d logits. A table's optimizer is a subtraction.
  const gradient = logits.data as Float32Array;
  before.forEach((digit, t) => {
    for (let v = 0; v < DIGITS; v++) row(digit)[v]! -= 20 * gradient[t * DIGITS + v]!;
  });
  const reward = rewards.reduce((sum, value) => sum + value) / rewards.length;
  if (step % 5 === 0 || step === 1)
    console.log(`step ${step}: reward ${reward.toFixed(3)}, entropy ${metrics.entropy.toFixed(3)}`);
}
