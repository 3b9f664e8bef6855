import { resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { rolloutEngineOf, rolloutSettings } from '../../lib/cli/kit/rollout.js';
import { SglangEngine, VllmEngine } from '../../lib/index.js';
import { throwsError } from '../reference/numbers.js';

const options = suite('prl train: rollout options');
const urls = ['http://a:1', 'http://b:2'];
options('given rollout options override those of the run', () => {
  assert.is(rolloutSettings({}, undefined), undefined);
  const first = rolloutSettings({ rolloutUrl: urls, syncFolder: 'sync' }, undefined)!;
  assert.equal(first, { urls, engine: 'vllm', syncFolder: resolve('sync') });
  assert.equal(rolloutSettings({}, first), first);
  assert.equal(rolloutSettings({ rolloutUrl: ['http://c:3'], rolloutModel: 'm' }, first), {
    ...first,
    urls: ['http://c:3'],
    model: 'm',
  });
  const other = rolloutSettings({ rolloutEngine: 'sglang' }, first)!;
  assert.instance(rolloutEngineOf(first), VllmEngine);
  assert.instance(rolloutEngineOf(other), SglangEngine);
});
options('rollout options that need another option name it', () => {
  const wrong = (given: object, message: RegExp) =>
    throwsError(() => rolloutSettings(given, undefined), TypeError, 'ERR_PRL_INVALID_ARGUMENT', message);
  wrong({ rolloutUrl: urls }, /--rollout-url needs --sync-folder/);
  wrong({ syncFolder: 'sync' }, /--sync-folder needs --rollout-url/);
  wrong({ rolloutEngine: 'vllm' }, /--rollout-engine needs --rollout-url/);
});
options.run();
