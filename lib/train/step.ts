import type { StepData } from '../methods/method.js';
import type { Rollout } from '../rollout/rollout.js';

/** A step of training on its way through the trainer. T tokens of all responses, S reasoning steps. */
export interface Step extends StepData {
  /** From 1. */
  step: number;
  /** Problems, responses, rewards and log-probabilities. */
  rollout: Rollout;
  /** [T] what the method made of the rewards. */
  advantages: Float32Array;
}
