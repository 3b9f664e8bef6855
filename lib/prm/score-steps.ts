import { types } from 'node:util';
import { invalidArgument, messageOf, PrlError } from '../base/errors.js';
import { describe } from '../base/options.js';
import { cumulative } from '../base/packed.js';
import { ResponseFailure } from './failure.js';
import type { ProcessRewardModel, StepBatch, StepScores } from './process-reward-model.js';
import { checkStepBatch } from './step-batch.js';

/**
 * Asks a process reward model for scores, and checks them: no model is trusted to keep the contract. Equal responses to
 * equal prompts are scored once.
 *
 * @returns scores [S] and the tokens that the model read
 * @throws PrlError ERR_PRL_REWARD_MODEL for a model that fails, or scores that are too few, too many or outside [0, 1];
 *   where one response is at fault, it has its index as `response`
 */
export async function scoreSteps(model: ProcessRewardModel, batch: StepBatch): Promise<StepScores> {
  if (typeof model?.score !== 'function')
    throw invalidArgument(`model must be a process reward model, with a function score, not ${describe(model)}`);
  const { prompts, completions, cuSteps, conversations, signal, cuSeqlens, cuScores } = checkStepBatch(batch);
  const stepsOf = (i: number) => cuSteps.subarray(cuScores[i], cuScores[i + 1]).map((begin) => begin - cuSeqlens[i]);

  // The first response of each kind, and the kind of each response.
  const firsts: number[] = [];
  const known = new Map<string, number>();
  const like = completions.map((tokens, i) => {
    const said = conversations ? JSON.stringify(conversations[i]) : '';
    const key = `${prompts[i].join()}|${tokens.join()}|${stepsOf(i).join()}|${said}`;
    const place = known.get(key) ?? known.set(key, firsts.length).size - 1;
    if (place === firsts.length) firsts.push(i);
    return place;
  });
  const starts = cumulative(firsts.map((i) => completions[i].length));
  const steps = firsts.flatMap((i, place) => Array.from(stepsOf(i), (begin) => begin + starts[place]));
  const asked: StepBatch = {
    prompts: firsts.map((i) => prompts[i]),
    completions: firsts.map((i) => completions[i]),
    cuSteps: Int32Array.from([...steps, starts[firsts.length]]),
    ...(conversations && { conversations: firsts.map((i) => conversations[i]) }),
    signal,
  };
  const owned = cumulative(firsts.map((i) => cuScores[i + 1] - cuScores[i]));
  const { scores, tokens } = await answerOf(model, asked, owned).catch((error) => {
    throw error instanceof ResponseFailure ? new ResponseFailure(error, firsts[error.response]) : error;
  });
  const all = new Float32Array(cuSteps.length - 1);
  like.forEach((place, i) => {
    all.set(scores.subarray(owned[place], owned[place + 1]), cuScores[i]);
  });
  return { scores: all, tokens };
}

/** The model's answer, checked. Its failures on a response have the response's index in `batch`. */
async function answerOf(model: ProcessRewardModel, batch: StepBatch, cuScores: Int32Array): Promise<StepScores> {
  return checkScores(model.name, await ask(model, batch), cuScores);
}

async function ask(model: ProcessRewardModel, batch: StepBatch): Promise<StepScores> {
  try {
    return await model.score(batch);
  } catch (error) {
    if (String((error as { code?: string })?.code).startsWith('ERR_PRL_')) throw error;
    // The signal went to the model, which may use words of its own.
    if (batch.signal?.aborted)
      throw new PrlError('ERR_PRL_ABORTED', 'the scoring of steps was aborted', { cause: batch.signal.reason });
    throw failure(`${model.name} failed: ${messageOf(error)}`, error);
  }
}

function checkScores(name: string, answer: StepScores, cuScores: Int32Array): StepScores {
  const steps = cuScores[cuScores.length - 1];
  const { scores, tokens } = answer ?? {};
  if (!types.isFloat32Array(scores))
    throw failure(`${name} must return { scores: Float32Array, tokens: number }, not ${typeof scores} scores`);
  if (scores.length !== steps)
    throw failure(`${name} must return ${steps} scores for ${steps} steps, not ${scores.length}`);
  const wrong = scores.findIndex((score) => !(score >= 0 && score <= 1));
  if (wrong >= 0) {
    const response = cuScores.findIndex((end) => end > wrong) - 1;
    const step = wrong - cuScores[response];
    const message = `${name} must return scores in [0, 1], not ${scores[wrong]} for step ${step}`;
    throw new ResponseFailure(failure(message), response);
  }
  if (!(tokens >= 0)) throw failure(`${name} must return the number of tokens that it read, not ${tokens}`);
  return { scores, tokens };
}

const failure = (message: string, cause?: unknown) => new PrlError('ERR_PRL_REWARD_MODEL', message, { cause });
