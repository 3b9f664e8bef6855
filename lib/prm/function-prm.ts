import { setImmediate as turn } from 'node:timers/promises';
import { mapConcurrently } from '../base/concurrency.js';
import { invalidArgument, PrlError } from '../base/errors.js';
import { checkInteger, checkOptions, checkString, describe } from '../base/options.js';
import { quoted } from '../base/text.js';
import { checkTokenizer, type Tokenizer } from '../policy/tokenizer.js';
import { ofResponse } from './failure.js';
import type { ProcessRewardModel, StepBatch, StepScores } from './process-reward-model.js';
import { checkStepBatch } from './step-batch.js';
import { joinScores, responsesOf, type StepTexts, type TextResponse } from './step-texts.js';

type Scores = ArrayLike<number>;

/**
 * Scores the steps of one response: a number in [0, 1] for each. If it asks a model, it may also return the tokens that
 * the model read. Default: prompt and response once.
 */
export type ScoreSteps = (
  response: StepTexts,
  options: { signal: AbortSignal },
) => Scores | { scores: Scores; tokens: number } | Promise<Scores | { scores: Scores; tokens: number }>;

/** Options of {@link FunctionPrm}. */
export interface FunctionPrmOptions {
  /** The policy's tokenizer, which decodes the text for the function. */
  tokenizer: Tokenizer;
  /** Name in messages and reports. Default 'function'. */
  name?: string | undefined;
  /** Responses in progress at a time, if the function is async. Default 16. */
  concurrency?: number | undefined;
}

/** Milliseconds of work between two turns of the event loop. */
const SLICE = 5;

/** Uses a function of yours as a process reward model. */
export class FunctionPrm implements ProcessRewardModel {
  readonly name: string;
  readonly #score: ScoreSteps;
  readonly #tokenizer: Tokenizer;
  readonly #concurrency: number;

  constructor(score: ScoreSteps, options: FunctionPrmOptions) {
    options = checkOptions('FunctionPrm', options, ['tokenizer', 'name', 'concurrency']);
    if (typeof score !== 'function')
      throw invalidArgument(`FunctionPrm takes a function that scores the steps, not ${describe(score)}`);
    this.name = checkString('name', options.name ?? 'function');
    this.#score = score;
    this.#tokenizer = checkTokenizer(options.tokenizer);
    this.#concurrency = checkInteger('concurrency', options.concurrency ?? 16, 1, 4096);
  }

  /**
   * Scores every step of the batch.
   *
   * @throws PrlError ERR_PRL_REWARD_MODEL for a function that throws, or a wrong answer of it; it names the response
   */
  async score(batch: StepBatch): Promise<StepScores> {
    const checked = checkStepBatch(batch);
    let since = performance.now();
    const answers = await mapConcurrently(
      [...responsesOf(checked, this.#tokenizer).entries()],
      this.#concurrency,
      async ([i, response], signal) => {
        if (performance.now() - since > SLICE) {
          await turn();
          since = performance.now();
        }
        if (signal.aborted)
          throw new PrlError('ERR_PRL_ABORTED', 'the scoring of steps was aborted', { cause: signal.reason });
        return ofResponse(this.name, i, signal, () => this.#ask(response, signal));
      },
      checked.signal,
    );
    return joinScores(answers);
  }

  async #ask({ prompt, messages, response, steps, tokens: read }: TextResponse, signal: AbortSignal) {
    const answer = await this.#score({ prompt, messages, response, steps }, { signal });
    const { scores, tokens } =
      typeof answer === 'object' && answer !== null && 'scores' in answer ? answer : { scores: answer, tokens: read };
    if (scores?.length !== steps.length)
      throw new PrlError(
        'ERR_PRL_REWARD_MODEL',
        `${this.name} must return an array of ${steps.length} scores for ${steps.length} steps, not ${quoted(scores)}`,
      );
    return { scores, tokens };
  }
}
