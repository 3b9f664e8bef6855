// Completions in the format of vLLM's answers.
import { randomUUID } from 'node:crypto';
import type { Tokenizer } from '../../policy/tokenizer.js';
import type { Completion } from '../../policy/types.js';
import type { Done } from './batcher.js';
import type { ServedCompletions } from './completion-request.js';

interface Answering {
  model: string;
  request: ServedCompletions;
  tokenizer?: Tokenizer;
}

const BROKEN_OFF = { tokens: new Int32Array(), logProbs: new Float32Array(), finishReason: 'abort' as const };

/** Everything but the choices. */
function envelope({ model }: Answering, { version }: Done) {
  const created = Math.floor(Date.now() / 1000);
  // weight_version is ours: a trainer must know which weights sampled.
  return { id: `cmpl-${randomUUID()}`, object: 'text_completion', created, model, weight_version: version };
}

/** All choices, in the order of the prompts. */
function choicesOf({ request, tokenizer }: Answering, { groups }: Done) {
  const { prompts, n, stop, logProbs, tokenIds } = request;
  return prompts.flatMap((prompt, p) => {
    const completions: (Completion | typeof BROKEN_OFF)[] =
      groups?.[p].completions ?? Array.from({ length: n }, () => BROKEN_OFF);
    return completions.map(({ tokens, logProbs: values, finishReason }, sample) => {
      const last = tokens[tokens.length - 1];
      return {
        index: p * n + sample,
        text: tokenizer?.decode(tokens) ?? '',
        logprobs: logProbs ? logprobsOf(tokens, values, tokenizer) : null,
        finish_reason: finishReason,
        stop_reason: finishReason === 'stop' && stop.includes(last) ? last : null,
        ...(tokenIds && { token_ids: Array.from(tokens), prompt_token_ids: Array.from(prompt) }),
      };
    });
  });
}

/** Writes numbers with all digits of the float32, so that they are the same when read back. */
function logprobsOf(tokens: Int32Array, values: Float32Array, tokenizer: Tokenizer | undefined) {
  const pieces = tokenizer?.pieces(tokens) ?? Array.from(tokens, (id) => `token_id:${id}`);
  let offset = 0;
  return {
    tokens: pieces,
    token_logprobs: Array.from(values),
    top_logprobs: pieces.map((piece, t) => ({ [piece]: values[t] })),
    text_offset: pieces.map((piece) => (offset += piece.length) - piece.length),
  };
}

function usageOf({ request: { prompts } }: Answering, { groups }: Done) {
  const prompt_tokens = prompts.reduce((sum, { length }) => sum + length, 0);
  const completion_tokens = (groups ?? [])
    .flatMap(({ completions }) => completions)
    .reduce((sum, { tokens }) => sum + tokens.length, 0);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

export const wholeAnswer = (answering: Answering, done: Done) => ({
  ...envelope(answering, done),
  choices: choicesOf(answering, done),
  usage: usageOf(answering, done),
});

/** Server-sent events: one per choice, once it is complete. */
export function* streamedAnswer(answering: Answering, done: Done): Generator<string> {
  const head = envelope(answering, done);
  for (const choice of choicesOf(answering, done)) yield event(JSON.stringify({ ...head, choices: [choice] }));
  if (answering.request.usageInStream)
    yield event(JSON.stringify({ ...head, choices: [], usage: usageOf(answering, done) }));
  yield event('[DONE]');
}

const event = (data: string) => `data: ${data}\n\n`;
