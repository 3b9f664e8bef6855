// A reward of your own: a function of the response. A new policy of 14 thousand parameters learns words that can be
// spoken, in which vowels and consonants alternate. It learns this from the reward alone.
import { characterTokenizer, functionVerifier, Policy, Trainer } from 'prl-node';

const letters = 'abcdefghijklmnopqrstuvwxyz';
const isVowel = (letter: string) => 'aeiou'.includes(letter);

// Returns a reward from 0 to 1. It gets the response, the answer of its problem (here: the length of the word) and the
// prompt. It may be async: a judge over HTTP, a program to run.
function speakable(response: string, answer: string, { prompt }: { prompt: string }) {
  const word = prompt + response;
  const turns = [...response].filter((letter, i) => isVowel(letter) !== isVowel(word[i]!)).length;
  const wanted = Number(answer) - 1;
  return { reward: Math.min(turns, wanted) / Math.max(response.length, wanted), measures: { length: word.length } };
}

const tokenizer = characterTokenizer(letters);
const policy = Policy.create(
  {
    model_type: 'llama',
    vocab_size: tokenizer.vocabSize,
    eos_token_id: tokenizer.eosTokenId,
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 1,
    num_attention_heads: 2,
  },
  { seed: 1 },
);

async function show() {
  const prompts = ['p', 'r', 'l'].map((letter) => tokenizer.encode(letter));
  const words = await policy.generate(prompts, { n: 4, maxNewTokens: 12, seed: 7 });
  const spelt = words.flatMap(({ completions }, i) =>
    completions.map(({ tokens }) => tokenizer.decode(prompts[i]!) + tokenizer.decode(tokens)),
  );
  console.log(`words: ${spelt.join(' ')}`);
}

const trainer = new Trainer({
  policy,
  tokenizer,
  dataset: [...letters].map((prompt) => ({ prompt, answer: '6' })),
  verifier: functionVerifier(speakable),
  method: 'grpo',
  promptsPerStep: 26,
  maxCompletionLength: 12,
  learningRate: 5e-3,
  entropyCoef: 0.03, // without it the policy finds one good word and says no other
  maxSteps: 60,
});
await show();
for await (const { step, metrics } of trainer.run())
  if (step % 10 === 0 || step === 1) console.log(`step ${step}: reward ${metrics.reward.toFixed(3)}`);
await show();
