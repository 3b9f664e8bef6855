import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LOSS_OPTIONS } from '../../lib/kernels/loss-options.js';
import { METHODS } from '../../lib/methods/index.js';
import { OUTCOME_OPTIONS } from '../../lib/methods/outcome.js';
import { STEP_OPTIONS } from '../../lib/methods/steps.js';
import { TRAINER_OPTIONS } from '../../lib/train/options.js';

const methods = suite('table of methods');
methods('every option of a method is a trainer option of the same name and no option of the loss', () => {
  const own = Object.values(METHODS).flatMap(({ options }) => Object.entries(options));
  const shared = Object.entries({ ...OUTCOME_OPTIONS, ...STEP_OPTIONS });
  for (const [name, spec] of [...own, ...shared]) {
    assert.is(TRAINER_OPTIONS[name as keyof typeof TRAINER_OPTIONS], spec, name);
    assert.not.ok((LOSS_OPTIONS as readonly string[]).includes(name), `${name} is the loss's`);
  }
  assert.equal(TRAINER_OPTIONS.method.choices, Object.keys(METHODS));
});

methods.run();
