// AdamW in float64, from the paper (decoupled decay, bias-corrected moments) with the gradient scaled to a global norm
// first.
export interface AdamWOptions {
  learningRate: number;
  weightDecay: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  maxGradNorm: number;
}

/** The parameters after steps with these gradients; `decays` tells which take part in the decay. */
export function adamw(
  start: ReadonlyMap<string, ArrayLike<number>>,
  gradients: readonly ReadonlyMap<string, ArrayLike<number>>[],
  decays: (name: string) => boolean,
  o: AdamWOptions,
): Map<string, Float64Array> {
  const parameters = new Map(Array.from(start, ([name, values]) => [name, Float64Array.from(values)]));
  const m = new Map(Array.from(start, ([name, values]) => [name, new Float64Array(values.length)]));
  const v = new Map(Array.from(start, ([name, values]) => [name, new Float64Array(values.length)]));
  gradients.forEach((gradient, step) => {
    let squares = 0;
    for (const values of gradient.values()) for (let i = 0; i < values.length; i++) squares += values[i] ** 2;
    const clip = Math.min(1, o.maxGradNorm / Math.sqrt(squares));
    for (const [name, p] of parameters) {
      const [g, first, second] = [gradient.get(name)!, m.get(name)!, v.get(name)!];
      for (let i = 0; i < p.length; i++) {
        first[i] = o.beta1 * first[i] + (1 - o.beta1) * g[i] * clip;
        second[i] = o.beta2 * second[i] + (1 - o.beta2) * (g[i] * clip) ** 2;
        const mean = first[i] / (1 - o.beta1 ** (step + 1));
        const square = second[i] / (1 - o.beta2 ** (step + 1));
        if (decays(name)) p[i] -= o.learningRate * o.weightDecay * p[i];
        p[i] -= (o.learningRate * mean) / (Math.sqrt(square) + o.epsilon);
      }
    }
  });
  return parameters;
}
