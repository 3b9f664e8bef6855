// An estimate of a run before it begins: time, memory and disk, from a probe of the policy that takes about a second.
import { statfs } from 'node:fs/promises';
import { estimateMemory } from '../../policy/memory.js';
import { availableMemory, largestThatFits } from '../../policy/memory-check.js';
import type { Policy } from '../../policy/policy.js';
import { encodeProblem, type Task } from '../../tasks/task.js';
import { needsReference } from '../../train/advantages.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import { durationText } from '../kit/progress.js';

/** Work of one part of the probe, in floating-point operations: half a second on two cores. */
const PROBE_OPERATIONS = 5e10;
const PROBE_NEW_TOKENS = 5;
const PROBE_LENGTH = 64;
/** Backward passes cost two forward passes. */
const UPDATE_PASSES = 3;
/** Problems whose prompts are measured. */
const SOME_PROBLEMS = 16;

/** The speed of a policy. */
export interface Speed {
  /** Tokens of prompts and responses per second where log-probabilities are computed. */
  scored: number;
  /** Seconds to generate one more token of each of `rows` responses. */
  decode: { seconds: number; rows: number };
}

/** Measures it. The policy keeps its weights, and nothing depends on the tokens. */
export async function measureSpeed(policy: Policy, signal?: AbortSignal): Promise<Speed> {
  const { vocab_size: vocab, max_position_embeddings: positions = PROBE_LENGTH } = policy.config;
  const affordable = PROBE_OPERATIONS / (2 * policy.parameterCount);
  const length = Math.max(2, Math.min(PROBE_LENGTH, positions, Math.floor(affordable)));
  const sequence = Array.from({ length }, (_, i) => (7 * i) % vocab);
  const sequences = new Array<number[]>(Math.max(1, Math.min(8, Math.floor(affordable / length)))).fill(sequence);
  const start = sequences.map(() => Math.floor(length / 2));
  await policy.logProbs([sequence.slice(0, 2)], { signal }); // what only the first call does
  const scoring = await secondsOf(() => policy.logProbs(sequences, { start, signal }));
  const rows = Math.max(1, Math.min(64, Math.floor(affordable / PROBE_NEW_TOKENS)));
  const maxNewTokens = Math.min(PROBE_NEW_TOKENS, positions - 1);
  const generating = await secondsOf(() =>
    policy.generate([sequence.slice(0, 1)], { n: rows, maxNewTokens, stop: [], signal }),
  );
  return {
    scored: (sequences.length * length) / scoring,
    decode: { seconds: generating / maxNewTokens, rows },
  };
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}

type SizeOptions = Pick<ResolvedTrainerOptions, 'promptsPerStep' | 'numGenerations' | 'numIterations'>;

export interface Sizes extends SizeOptions {
  /** Mean tokens of a prompt. */
  prompt: number;
  /** Mean tokens of a response. */
  response: number;
  /** Whether a reference scores the responses. */
  reference: boolean;
  /** Whether servers sample the responses, in a time that is not known here. */
  served: boolean;
}

/** Seconds of a step, by phase. */
export function stepSeconds(speed: Speed, sizes: Sizes): { rollout: number; reference: number; update: number } {
  const { promptsPerStep, numGenerations, numIterations, prompt, response, reference, served } = sizes;
  const pass = (promptsPerStep * numGenerations * (prompt + response)) / speed.scored;
  return {
    rollout: served ? 0 : samplingSeconds(speed, promptsPerStep, numGenerations, { prompt, response }),
    reference: reference ? pass : 0,
    update: UPDATE_PASSES * numIterations * pass,
  };
}

/** Seconds to sample n responses to each of some prompts. A group shares the computation of its prompt. */
export function samplingSeconds(
  { scored, decode }: Speed,
  prompts: number,
  n: number,
  { prompt, response }: { prompt: number; response: number },
): number {
  const rows = prompts * n;
  // A token of each row takes the time to read the weights, and a time per row.
  const each = Math.max(
    decode.seconds * Math.min(1, rows / decode.rows),
    decode.seconds + (rows - decode.rows) / scored,
  );
  return (prompts * prompt) / scored + response * each;
}

/** The mean number of tokens in the prompts of the first step. */
export function promptLength(task: Task, { seed, level, promptsPerStep }: ResolvedTrainerOptions): number {
  const count = Math.min(SOME_PROBLEMS, promptsPerStep);
  const lengths = Array.from(
    { length: count },
    (_, i) => encodeProblem(task, task.problem(i, { seed, split: 'train', level })).length,
  );
  return lengths.reduce((a, b) => a + b, 0) / count;
}

/** Bytes that a run takes: of memory at its peak, and of the disk. */
export function spaceOf(
  { config, dtype, parameterCount }: Pick<Policy, 'config' | 'dtype' | 'parameterCount'>,
  options: ResolvedTrainerOptions,
  prompt: number,
): { memory: number; disk: number; checkpoint: number } {
  const { microBatchTokens, gradientCheckpointing, maxCompletionLength, promptsPerStep, numGenerations } = options;
  const weights = parameterCount * (dtype === 'bfloat16' ? 2 : 4);
  const reference = needsReference(options);
  const bytes = (maxBatch: number) =>
    estimateMemory(config, {
      ...{ dtype, reference, gradientCheckpointing, microBatchTokens, maxBatch },
      ...{ promptTokens: Math.ceil(prompt), maxNewTokens: maxCompletionLength },
    }).total + (reference ? 0 : weights); // the policy before training stays in memory, for comparison
  // The sampler takes fewer rows at a time where memory is short.
  const rows = largestThatFits(1, promptsPerStep * numGenerations, availableMemory(), bytes) ?? 1;
  // Two moments of each weight and, in bfloat16, its float32 master.
  const checkpoint = weights + parameterCount * (dtype === 'bfloat16' ? 12 : 8);
  const saves = Math.ceil(options.maxSteps / options.saveSteps);
  // The next checkpoint is written before the oldest goes.
  return { memory: bytes(rows), disk: weights + Math.min(saves, options.saveTotalLimit + 1) * checkpoint, checkpoint };
}

export interface PlannedRun {
  policy: Policy;
  task: Task;
  options: ResolvedTrainerOptions;
  /** Problems of an evaluation before and after training; 0: there is none. */
  evaluated: number;
  served: boolean;
  /** Folder of the run. */
  folder: string;
  /** What to advise where a run would take very long. */
  advice: string;
  signal?: AbortSignal;
  say(line: string): void;
  warn(message: string): void;
}

/** A step of an hour or a run of two days is more than one expects of a machine. */
const LONG_STEP = 3600;
const LONG_RUN = 2 * 86400;

/** Estimates a run, before its first evaluation and again once that has told how long responses are. */
export class Estimate {
  readonly #run: PlannedRun;
  #speed: Speed | undefined;

  constructor(run: PlannedRun) {
    this.#run = run;
  }

  /** Prints time, memory and disk, and warns where they are more than one expects or more than there is. */
  async before(): Promise<void> {
    const { policy, options, folder, say, warn, advice, signal } = this.#run;
    this.#speed = await measureSpeed(policy, signal);
    const { maxCompletionLength } = options;
    const { step, run } = this.#print(maxCompletionLength, `if every response had ${maxCompletionLength} tokens`, true);
    const { memory, disk, checkpoint } = spaceOf(policy, options, promptLength(this.#run.task, options));
    say(`${''.padEnd(12)} up to ${gib(memory)} of memory, ${gib(disk)} of disk (${gib(checkpoint)} a checkpoint)`);
    if (step >= LONG_STEP || run >= LONG_RUN)
      warn(`a step may take ${text(step)}, and the whole run ${text(run)} (an estimate). ${advice}`);
    const { bavail, bsize } = await statfs(folder);
    if (disk > bavail * bsize)
      warn(`the run needs about ${gib(disk)} of disk, and ${gib(bavail * bsize)} are free in ${folder}`);
  }

  /** Prints the time again, with the length of responses in the first evaluation. */
  afterEvaluation(meanLength: number): void {
    if (this.#speed) this.#print(meanLength, `with responses of ${meanLength.toFixed(0)} tokens, as evaluated`, false);
  }

  #print(response: number, condition: string, whole: boolean): { step: number; run: number } {
    const { task, options, evaluated, served, say } = this.#run;
    const { promptsPerStep, numGenerations, numIterations, evalSamples, evalSteps, maxTokens = Infinity } = options;
    const steps = Math.min(options.maxSteps, Math.ceil(maxTokens / (promptsPerStep * numGenerations * response)));
    const prompt = promptLength(task, options);
    const sizes = { promptsPerStep, numGenerations, numIterations, prompt, response, served };
    const phases = stepSeconds(this.#speed!, { ...sizes, reference: needsReference(options) });
    const step = Object.values(phases).reduce((a, b) => a + b, 0);
    const evaluations = evaluated === 0 ? 0 : (whole ? 2 : 1) + (evalSteps > 0 ? Math.floor(steps / evalSteps) : 0);
    const evaluation = evaluated && samplingSeconds(this.#speed!, evaluated, evalSamples, { prompt, response });
    const run = steps * step + evaluations * evaluation;
    const parts = Object.entries(phases).flatMap(([name, seconds]) =>
      seconds > 0 ? [`${name} ${text(seconds)}`] : [],
    );
    const exams = evaluations > 0 ? ` and ${plural(evaluations, 'evaluation')}` : '';
    const without = served ? ', without the rollouts of the servers' : '';
    say(
      `${'estimate'.padEnd(12)} ${text(run)} for ${plural(steps, 'step')}${exams}, ${text(step)} a step (${parts.join(', ')})${without}, ${condition}`,
    );
    return { step, run };
  }
}

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`;
const text = (seconds: number) => (seconds < 10 ? `${seconds.toFixed(1)}s` : durationText(seconds));
const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 30 ? 2 : 1)} GiB`;
