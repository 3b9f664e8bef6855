import type { CellResult } from '../../lib/cli/compare/jobs.js';
import type { EvaluationFigures } from '../../lib/cli/report/read.js';

/** What an evaluation on two levels came to, of which the harder one is half of it. */
export const levelFigures = (averageAtN: number): EvaluationFigures[] =>
  ['2-4', '5-6'].map((level, i) => ({
    ...{ level, problems: 10, n: 8, averageAtN: averageAtN / (i + 1), averageAtNInterval: [0, 1] },
    ...{ passAtN: 0.5, passAtNInterval: [0, 1], meanLength: 12, clippedRatio: 0, entropy: 0.25, kl: 0.125 },
    ...{ measures: {}, seconds: 1 },
  }));

export const cellResult = (arm: string, seed: number, average: number): CellResult => ({
  ...{ arm, seed, options: {} as CellResult['options'], levels: levelFigures(average), wrongPushedUp: 0.5 },
  seconds: { training: 3, prm: 1 },
  tokens: { policy: 2000, prm: 3000 },
});
