// Where the responses of an evaluation come from: a policy, or a file.
import { setImmediate } from 'node:timers/promises';
import { sha256 } from '../base/atomic.js';
import { outOfRange, PrlError } from '../base/errors.js';
import { checkInteger, checkNumber } from '../base/options.js';
import { seedOf } from '../base/random.js';
import type { DatasetProblem } from '../tasks/data/fields.js';
import { promptEncoder } from '../tasks/data/prompt.js';
import { stopTokensOf } from '../tasks/task.js';
import { checkResponses, readResponses } from './responses.js';
import type { Chunk, DatasetEvaluationOptions, EvaluationSet, ResponseSource } from './types.js';

/** Problems that are processed and saved together. */
const CHUNK = 16;
/** Problems between two turns of the event loop. */
const TURN = 256;

/** @throws RangeError for a prompt that leaves no room for a response */
export async function sampledSource(options: DatasetEvaluationOptions): Promise<ResponseSource> {
  const {
    sets,
    seed = 0,
    topK = 0,
    topP = 1,
    maxCompletionLength = 2048,
    chunkSize = CHUNK,
    temperature = 1,
  } = options;
  const tokenizer = options.tokenizer!;
  const policy = options.policy!;
  const greedy = checkNumber('temperature', temperature, 0) === 0;
  const n = checkInteger('n', options.n ?? (greedy ? 1 : 8), 1);
  if (greedy && n > 1) throw outOfRange(`n must be 1 at temperature 0, where all responses are equal, not ${n}`);
  checkInteger('topK', topK);
  checkNumber('topP', topP, 0, 1, true);
  checkInteger('maxCompletionLength', maxCompletionLength, 1);
  checkInteger('seed', seed);
  checkInteger('chunkSize', chunkSize, 1);
  const encoders = sets.map(({ prompt }) => promptEncoder(tokenizer, prompt ?? { promptTemplate: 'none' }));
  const encode = ({ set, index }: Chunk[number]) => encoders[set].encode(sets[set].problems[index]);
  // Check all prompts now, not after hours of sampling.
  const room = policy.config ? (policy.config.max_position_embeddings ?? 2048) - maxCompletionLength : Infinity;
  for (const [turn, at] of [...placesOf(sets)].entries()) {
    const { length } = encode(at);
    if (length > room)
      throw outOfRange(
        `maxCompletionLength ${maxCompletionLength} leaves ${Math.max(0, room)} of the model's ${room + maxCompletionLength} positions for a prompt, and problem ${at.index} of ${sets[at.set].name} has ${length} tokens`,
      );
    if (turn % TURN === 0) await pause(options.signal);
  }
  return {
    n,
    settings: {
      ...{ n, temperature, topK, topP, maxCompletionLength, seed },
      prompts: encoders.map(({ description }) => description),
    },
    thinking: (set) => encoders[set].thinking,
    chunks: (done) => inChunks(placesOf(sets), chunkSize, done),
    async respond(chunk, { signal, onProgress }) {
      const groups = await policy.generate(chunk.map(encode), {
        ...{ n, temperature, signal },
        ...(topK > 0 && { topK }),
        ...(topP < 1 && { topP }),
        maxNewTokens: maxCompletionLength,
        seed: chunk.map(({ set, index }) => problemSeed(seed, sets[set].problems[index])),
        stop: stopTokensOf({ tokenizer }),
        onProgress: ({ finished, tokens }) => onProgress(finished, tokens),
      });
      return groups.map(({ completions }) =>
        completions.map(({ tokens, finishReason }) => ({
          text: tokenizer.decode(tokens),
          finished: finishReason === 'stop',
          tokens: tokens.length,
        })),
      );
    },
  };
}

async function* inChunks<P extends Chunk[number]>(
  places: Iterable<P> | AsyncIterable<P>,
  size: number,
  done: (set: number, index: number) => boolean,
): AsyncGenerator<P[], void, void> {
  let chunk: P[] = [];
  for await (const at of places) {
    if (done(at.set, at.index)) continue;
    if (chunk.push(at) < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}

function* placesOf(sets: readonly EvaluationSet[]): Generator<{ set: number; index: number }, void, void> {
  for (let set = 0; set < sets.length; set++)
    for (let index = 0; index < sets[set].problems.length; index++) yield { set, index };
}

/** A seed that depends only on the problem's text: not on its place, or on the other problems. */
const problemSeed = (seed: number, { prompt }: DatasetProblem) => seedOf(seed, 'evaluation', prompt);

async function pause(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  if (signal?.aborted) throw new PrlError('ERR_PRL_ABORTED', 'the evaluation was aborted', { cause: signal.reason });
}

/** The responses of a file. The whole file is checked before any response is judged. */
export async function givenSource(file: string, sets: readonly EvaluationSet[]): Promise<ResponseSource> {
  return {
    n: await checkResponses(file, sets),
    settings: { responses: await sha256(file) },
    chunks: (done) => inChunks(readResponses(file, sets), CHUNK, done),
    async respond(chunk, { signal }) {
      await pause(signal);
      return chunk.map(({ samples }) => samples!);
    },
  };
}
