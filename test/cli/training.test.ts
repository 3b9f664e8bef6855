import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { resolveOptions } from '../../lib/base/options.js';
import { savedPart } from '../../lib/cli/kit/args.js';
import { savedConfig } from '../../lib/cli/train/course.js';
import { RunFolder } from '../../lib/index.js';
import { settleConfig } from '../../lib/train/checkpoint.js';
import { TRAINER_OPTIONS } from '../../lib/train/options.js';

const training = suite('prl train: saved options');

training('an infinite maxGradNorm survives saving and resuming', async () => {
  const path = mkdtempSync(join(tmpdir(), 'prl-training-'));
  const folder = await RunFolder.open(path);
  try {
    const options = resolveOptions('test', TRAINER_OPTIONS, { maxGradNorm: Infinity, learningRate: 0.001 });
    await settleConfig(folder, 'trainer', { ...options });
    const trainer = savedPart((await savedConfig(folder)).trainer, TRAINER_OPTIONS);
    assert.equal(resolveOptions('test', TRAINER_OPTIONS, trainer), options);
    await settleConfig(folder, 'trainer', { ...resolveOptions('test', TRAINER_OPTIONS, trainer) });
  } finally {
    await folder.close();
    rmSync(path, { recursive: true });
  }
});

training.run();
