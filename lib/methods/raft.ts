import { isRight, type MethodBatch, type MethodResult, spread } from './method.js';

/** RAFT and RAFT++ (arXiv 2504.11343): right responses are imitated, wrong ones teach nothing. */
export const raft = ({ rewards, cuSeqlens }: MethodBatch): MethodResult => ({
  advantages: spread(
    rewards.map((reward) => Number(isRight(reward))),
    cuSeqlens,
  ),
  metrics: {},
});
