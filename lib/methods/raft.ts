import { defineMethod, isRight, spread } from './method.js';

/** RAFT and RAFT++ (arXiv 2504.11343): the policy imitates right responses. Wrong ones teach nothing. */
export const raft = defineMethod({
  doc: 'right responses only',
  options: {},
  needs: [],
  lossType: 'raft',
  run: ({ rewards, cuSeqlens }) => ({
    advantages: spread(
      rewards.map((reward) => Number(isRight(reward))),
      cuSeqlens,
    ),
    metrics: {},
  }),
});
