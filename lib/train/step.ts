import type { StepData } from '../methods/method.js';
import type { Rollout } from '../rollout/rollout.js';

/** A training step on its way through the trainer: T tokens of all responses, S reasoning steps. */
export interface Step extends StepData {
  /** Number of the step, from 1. */
  step: number;
  /** Problems, responses, rewards and log-probabilities. */
  rollout: Rollout;
  /** [T] advantages of the method. */
  advantages: Float32Array;
}
