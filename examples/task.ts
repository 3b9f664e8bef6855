// A task of your own: problems, a judge, and demonstrations for a policy that cannot respond yet. Here the task is to
// sort digits. Half of the demonstrations go up, half go down. The reward says which way is right; training finds it.
import { characterTokenizer, evaluate, Policy, type Problem, type Task, Trainer, warmStart } from 'prl-node';

class SortTask implements Task {
  readonly name = 'sort';
  readonly tokenizer = characterTokenizer('0123456789=');
  /** Number of digits. The first level is trained on. */
  readonly levels = ['4', '3'] as const;

  /** The same arguments must always give the same problem: this makes runs repeatable. No problem is in both splits. */
  problem(index: number, choice: { seed: number; split: 'train' | 'test'; level?: string }): Problem {
    const size = Number(choice.level ?? this.levels[0]);
    let state = (index * 2654435761 + choice.seed * 40503) >>> 0;
    for (;;) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const digits = [...String(state % 10 ** size).padStart(size, '0')];
      // One problem in seven is held out.
      if ((Number(digits.join('')) % 7 === 0) === (choice.split === 'test'))
        return { prompt: `${digits.join('')}=`, answer: digits.sort().join('') };
    }
  }

  verify({ answer }: Problem, response: string, finished: boolean): number {
    return finished && response === answer ? 1 : 0;
  }

  /** Other numbers to watch. Their means join the metrics. */
  measure({ answer }: Problem, response: string) {
    return { down: response === [...answer].reverse().join('') ? 1 : 0 };
  }

  demonstrate({ answer }: Problem, style?: string): string {
    return style === 'down' ? [...answer].reverse().join('') : answer;
  }
}

const task = new SortTask();
const { tokenizer } = task;
const policy = Policy.create(
  {
    model_type: 'llama',
    vocab_size: tokenizer.vocabSize,
    eos_token_id: tokenizer.eosTokenId,
    hidden_size: 64,
    intermediate_size: 128,
    num_hidden_layers: 2,
    num_attention_heads: 4,
  },
  { seed: 1 },
);

const phase = {
  steps: 300,
  batchSize: 64,
  learningRate: 4e-3,
  warmupSteps: 20,
  level: '4',
  styles: { up: 1, down: 1 },
};
for await (const { step, loss } of warmStart({ policy, task, phases: [phase], seed: 1, logSteps: 100 }))
  if (loss !== undefined) console.log(`warm start ${step}: loss ${loss.toFixed(3)}`);

async function show(when: string) {
  const { averageAtN, measures, n } = await evaluate(policy, task, { problems: 100, n: 4 });
  console.log(`${when}: average@${n} ${averageAtN.toFixed(3)}, sorted downwards ${measures.down?.toFixed(3)}`);
}

await show('before');
const trainer = new Trainer({
  policy,
  task,
  method: 'prl',
  stepSplit: 'length',
  stepLength: 1,
  maxSteps: 20,
  maxCompletionLength: 8,
});
for await (const { step, metrics } of trainer.run())
  if (step % 5 === 0 || step === 1)
    console.log(`step ${step}: reward ${metrics.reward.toFixed(3)}, kl ${metrics.kl?.toFixed(3)}`);
await show('after');
