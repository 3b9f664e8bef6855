#!/usr/bin/env node
// The experiment of docs/results.md. Every method gets the same number of settings, tried on seeds of their own. The
// best setting of each, by average@8 on the trained level, is trained on other seeds, beside the arms that its claims
// are compared with.
//
//   node --import tsx scripts/experiment.mjs small-batch|rare-success|drift|updates|quickstart FOLDER [--seeds N] [--tune-seeds N]
//
// Everything stays in FOLDER. Finished parts are not repeated.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const root = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..');

/** Five settings of each method, GRPO included. */
const GRID = {
  grpo: ['', 'learning-rate=1e-4', 'learning-rate=3e-4', 'beta=0.01', 'beta=0.05'],
  raft: ['', 'learning-rate=1e-4', 'learning-rate=3e-4', 'learning-rate=5e-4', 'beta=0.01'],
  prl: ['eta=200', 'eta=100', 'eta=20', 'eta=5', 'eta=20 learning-rate=1e-4'],
  frpo: [
    'frpo-beta=0.01',
    'frpo-beta=0.05',
    'frpo-beta=0.2',
    'frpo-beta=0.05 learning-rate=1e-4',
    'frpo-beta=0.05 frpo-estimator=k3',
  ],
  progrs: ['lambda=1', 'lambda=3', 'lambda=10', 'lambda=3 granularity=step', 'lambda=3 learning-rate=1e-4'],
};

/**
 * Steps of the GRPO arm that sees as many tokens, at 8 responses per problem, as PROGRS does including those of its
 * reward model.
 */
const EQUAL_TOKENS_STEPS = { 'small-batch': 110, 'rare-success': 72 };

/** Comparisons of one setting each, without tuning. They show every trained arm. */
const LOOKS = {
  // Five times the steps: how far the policies drift, and how much pass@8 remains.
  drift: {
    options: ['--preset', 'small-batch', '--max-steps', '300'],
    arms: {
      grpo: ['grpo', ''],
      kl01: ['grpo', 'beta=0.01'],
      kl05: ['grpo', 'beta=0.05'],
      prl100: ['prl', 'eta=100'],
      prl20: ['prl', 'eta=20'],
      prl5: ['prl', 'eta=5'],
      // frpo05 without the step's own share: steps of 4 tokens.
      prl20short: ['prl', 'eta=20 step-split=length step-length=4'],
      frpo05: ['frpo', 'frpo-beta=0.05'],
      frpo20: ['frpo', 'frpo-beta=0.2'],
    },
  },
  // Four passes over each rollout.
  updates: {
    options: ['--preset', 'small-batch', '--num-iterations', '4'],
    arms: {
      grpo: ['grpo', ''],
      kl01: ['grpo', 'beta=0.01'],
      prl100: ['prl', 'eta=100'],
      prl20: ['prl', 'eta=20'],
      frpo05: ['frpo', 'frpo-beta=0.05'],
    },
  },
  quickstart: {
    options: ['--preset', 'quickstart'],
    arms: { grpo: ['grpo', ''], raft: ['raft', ''], prl: ['prl', ''], frpo: ['frpo', ''], progrs: ['progrs', ''] },
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seeds: { type: 'string', default: '8' }, 'tune-seeds': { type: 'string', default: '3' } },
});
const [name, folder] = positionals;
if (folder === undefined) throw new Error('usage: experiment.mjs NAME FOLDER');

/** Trains arms, { NAME: [METHOD, 'option=value ...'] }. */
function compare(output, arms, options) {
  const methods = Object.entries(arms).map(([arm, [method]]) => (arm === method ? arm : `${arm}=${method}`));
  const settings = Object.entries(arms).flatMap(([arm, [, text]]) =>
    text
      .split(' ')
      .filter(Boolean)
      .map((each) => `${arm}.${each}`),
  );
  const resume = existsSync(join(output, 'config.json')) ? ['--resume'] : [];
  const words = [
    'compare',
    '--methods',
    methods.join(','),
    ...settings,
    '--output',
    output,
    '--cache',
    join(folder, 'cache'),
    '--jobs',
    '2',
    ...options,
    ...resume,
  ];
  console.log(`prl ${words.join(' ')}`);
  execFileSync(process.execPath, ['--import', 'tsx', join(root, 'lib/cli/main.ts'), ...words], {
    stdio: 'inherit',
    cwd: root,
  });
  return JSON.parse(readFileSync(join(output, 'results.json'), 'utf8'));
}

if (LOOKS[name]) {
  const { options, arms } = LOOKS[name];
  compare(join(folder, name), arms, [...options, '--seeds', values.seeds]);
} else {
  const grid = Object.entries(GRID).flatMap(([method, settings]) =>
    settings.map((text, i) => [`${method}${i + 1}`, [method, text]]),
  );
  const tuned = compare(join(folder, `${name}-tune`), Object.fromEntries(grid), [
    '--preset',
    name,
    '--first-seed',
    '1000',
    '--seeds',
    values['tune-seeds'],
  ]);
  const score = (arm) => tuned.results.find((row) => row.name === arm).figures;
  const measure = Object.keys(score('grpo1')).find((each) => each.startsWith('average@'));
  const best = {};
  for (const method of Object.keys(GRID)) {
    const arms = grid
      .filter(([, [of]]) => of === method)
      .map(([arm, [, text]]) => ({ text, mean: score(arm)[measure].mean }));
    best[method] = arms.reduce((a, b) => (b.mean > a.mean ? b : a)).text;
    console.log(
      `${method}: ${arms.map(({ text, mean }) => `${text || 'as the preset'} ${mean.toFixed(3)}`).join('; ')}`,
    );
  }
  const arms = Object.fromEntries(Object.entries(best).map(([method, text]) => [method, [method, text]]));
  compare(
    join(folder, name),
    {
      ...arms,
      // The scores as they are, not centred.
      naive: ['progrs', `${best.progrs} center=none`],
      // Twice the responses; and as many tokens as PROGRS, including those of its reward model.
      grpo8: ['grpo', `${best.grpo} num-generations=8`],
      grpo8long: ['grpo', `${best.grpo} num-generations=8 max-steps=${EQUAL_TOKENS_STEPS[name]}`],
    },
    ['--preset', name, '--seeds', values.seeds],
  );
}
