// Tests with a real model, SmolLM2-135M-Instruct (test/model): tokens, log-probabilities and losses are those of
// transformers; it trains; a run that was stopped resumes with the same bits. About two minutes on two quiet cores.
//
//   node scripts/test-model.mjs        PRL_TEST_MODEL: a folder that scripts/smollm2.mjs made (default: it makes one)
//
// Without a model it exits with 1. --allow-no-model: with 0, if the weights cannot be fetched; it says so plainly.
import { spawnSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MODEL_FOLDER, makeModel, NotFetched } from './smollm2.mjs';

const folder = resolve(process.env.PRL_TEST_MODEL ?? MODEL_FOLDER);
try {
  if (!process.env.PRL_TEST_MODEL) makeModel(folder);
} catch (error) {
  console.log(`\ntest:model: NOTHING WAS TESTED WITH A REAL MODEL.\n  why: ${error.message}`);
  process.exit(error instanceof NotFetched && process.argv.includes('--allow-no-model') ? 0 : 1);
}
const tests = join(dirname(fileURLToPath(import.meta.url)), 'test.mjs');
const { status } = spawnSync(process.execPath, [tests, '^model/'], {
  stdio: 'inherit',
  env: { ...process.env, PRL_TEST_MODEL: folder },
});
process.exit(status ?? 1);
