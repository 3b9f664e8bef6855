// Float64 references of group centering, PRL, FRPO and PROGRS, written from the formulas; quadratic where that is
// plainer.
import { coherenceReference } from './coherence.js';

export function groupAdvantagesReference(
  rewards: ArrayLike<number>,
  groups: ArrayLike<number>,
  { kind = 'grpo', std = 'sample', scale = 'group', epsilon = 1e-4, singleton = 'zero' } = {},
): Float64Array {
  const all = Array.from(rewards);
  const deviation = (values: number[]) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
    return Math.sqrt(squares / (std === 'population' ? values.length : values.length - 1));
  };
  return Float64Array.from(all, (r, i) => {
    const members = all.filter((_, j) => groups[j] === groups[i]);
    if (members.length === 1) return singleton === 'raw' ? r : 0;
    const others = all.filter((_, j) => groups[j] === groups[i] && j !== i);
    if (kind === 'rloo') return r - others.reduce((a, b) => a + b, 0) / others.length;
    const centered = r - members.reduce((a, b) => a + b, 0) / members.length;
    if (kind === 'dr_grpo' || std === 'none') return centered;
    return centered / (deviation(scale === 'batch' ? all : members) + epsilon);
  });
}

const GENERATORS = {
  reverse: { k1: (u: number) => -Math.log(u), k3: (u: number) => -Math.log(u) + u - 1 },
  forward: { k1: (u: number) => u * Math.log(u), k3: (u: number) => u * Math.log(u) - u + 1 },
};
const DERIVATIVES = {
  reverse: { k1: (u: number) => -1 / u, k3: (u: number) => 1 - 1 / u },
  forward: { k1: (u: number) => Math.log(u) + 1, k3: (u: number) => Math.log(u) },
};

/** A - beta * (sum over later tokens of f(u) + f(u_t) - f'(u_t) u_t), with the constant 1 of reverse k1 dropped. */
export function frpoReference(
  outcome: ArrayLike<number>,
  old: ArrayLike<number>,
  ref: ArrayLike<number>,
  cuSeqlens: ArrayLike<number>,
  beta: number,
  { estimator = 'k1' as 'k1' | 'k3', direction = 'reverse' as 'reverse' | 'forward', baseline = false } = {},
): Float64Array {
  const f = GENERATORS[direction][estimator];
  const df = DERIVATIVES[direction][estimator];
  const u = Array.from(old, (o, t) => Math.exp(ref[t] - o));
  const mean = u.reduce((sum, x) => sum + f(x), 0) / u.length;
  const constant = direction === 'reverse' && estimator === 'k1' ? 1 : 0;
  const out = new Float64Array(u.length);
  for (let i = 0; i + 1 < cuSeqlens.length; i++) {
    for (let t = cuSeqlens[i]; t < cuSeqlens[i + 1]; t++) {
      let reg = f(u[t]) - df(u[t]) * u[t] - constant;
      for (let j = t + 1; j < cuSeqlens[i + 1]; j++) reg += f(u[j]) - (baseline ? mean : 0);
      out[t] = outcome[i] - beta * reg;
    }
  }
  return out;
}

/** A - (1 / eta) * sum of old - ref from the last token of t's step (or from after it) to the end of the response. */
export function prlReference(
  outcome: ArrayLike<number>,
  old: ArrayLike<number>,
  ref: ArrayLike<number>,
  cuSeqlens: ArrayLike<number>,
  cuSteps: ArrayLike<number>,
  eta: number,
  suffix = 'inclusive',
): Float64Array {
  const out = new Float64Array(old.length);
  for (let i = 0; i + 1 < cuSeqlens.length; i++) {
    for (let t = cuSeqlens[i]; t < cuSeqlens[i + 1]; t++) {
      const boundary = Array.from(cuSteps).find((s) => s > t)! - 1;
      let sum = 0;
      for (let j = boundary + (suffix === 'inclusive' ? 0 : 1); j < cuSeqlens[i + 1]; j++) sum += old[j] - ref[j];
      out[t] = outcome[i] - sum / eta;
    }
  }
  return out;
}

/** PROGRS per token; `steps` are the scores of each response's steps, `lengths` the tokens of each of them. */
export function progrsReference(
  outcome: ArrayLike<number>,
  steps: readonly (readonly number[])[],
  lengths: readonly (readonly number[])[],
  correct: ArrayLike<number>,
  groups: ArrayLike<number>,
  lambda: number,
  {
    alpha = 0.5,
    windows = [2, 3, 5] as readonly number[],
    lambdaVar = 1,
    center = 'incorrect' as 'incorrect' | 'both' | 'none',
    granularity = 'response' as 'response' | 'step',
    combine = 'advantage' as 'advantage' | 'reward',
    normalize = {},
  } = {},
): number[] {
  const average = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  /** Less the mean of what the responses like i (in group and outcome) have. */
  const shift = (i: number, values: readonly (readonly number[])[]) => {
    if (center === 'none' || (center === 'incorrect' && correct[i])) return 0;
    return average(values.filter((_, j) => groups[j] === groups[i] && !correct[j] === !correct[i]).flat());
  };
  if (granularity === 'step')
    return steps.flatMap((own, i) =>
      own.flatMap((score, k) => Array(lengths[i][k]).fill(outcome[i] + lambda * (score - shift(i, steps)))),
    );
  const process = steps.map((own) => [
    own.length === 0 ? 0 : alpha * average(own) + (1 - alpha) * coherenceReference(own, windows, lambdaVar),
  ]);
  const sums = process.map(([value], i) => outcome[i] + lambda * (value - shift(i, process)));
  const values = combine === 'reward' ? groupAdvantagesReference(sums, groups, normalize) : sums;
  return steps.flatMap((own, i) => own.flatMap((_, k) => Array(lengths[i][k]).fill(values[i])));
}
