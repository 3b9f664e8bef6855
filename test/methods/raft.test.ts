import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { raft } from '../../lib/methods/raft.js';
import { batch, outcomeOptions, spread } from './batch.js';

const methods = suite('raft');
methods('raft gives right responses advantage 1 and the others 0', () => {
  assert.equal(Array.from(raft.run(batch, outcomeOptions('group')).advantages), spread([1, 0, 0, 0]));
  assert.equal(
    Array.from(raft.run({ ...batch, rewards: Float32Array.of(-1, 0.5, 0, 2) }, outcomeOptions('group')).advantages),
    spread([0, 1, 0, 1]),
  );
});

methods.run();
