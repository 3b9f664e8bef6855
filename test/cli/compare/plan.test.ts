import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { armsOf, type CellJob, type CompareRequest, mergeRequests, planJobs } from '../../../lib/cli/compare/plan.js';
import { throwsError } from '../../reference/numbers.js';

const request = (more: Partial<CompareRequest> = {}): CompareRequest => ({
  ...{ preset: 'smoke', methods: 'grpo,prl', seeds: 2, firstSeed: 0, settings: [], trainer: {}, prmProblems: 20 },
  ...more,
});
const ids = (more: Partial<CompareRequest>) =>
  planJobs('/x', request(more)).map(({ id, needs }) => [id, ...needs].join(' < '));
const cell = (more: Partial<CompareRequest>, id: string) =>
  planJobs('/x', request(more)).find((job) => job.id === id) as CellJob;

const plan = suite('planJobs');
plan('the plan has, per seed, a warm start, a process reward model if needed, and a cell per method', () => {
  assert.equal(ids({}), ['warm-0', 'grpo-0 < warm-0', 'prl-0 < warm-0', 'warm-1', 'grpo-1 < warm-1', 'prl-1 < warm-1']);
  assert.equal(ids({ methods: 'progrs,raft', seeds: 1 }), [
    'warm-0',
    'prm-0 < warm-0',
    'progrs-0 < prm-0',
    'raft-0 < warm-0',
  ]);
  assert.equal(ids({ methods: 'progrs', seeds: 1, prm: 'mine' }), ['warm-0', 'progrs-0 < warm-0']);
});

plan("a method's options override those for all, which override the preset", () => {
  const more = {
    methods: 'grpo,prl,steep=prl',
    trainer: { maxSteps: 7 },
    settings: ['steep.eta=5', 'steep.max-steps=9', 'grpo.mask-truncated-completions=true'],
  };
  const of = (id: string) => cell(more, id).options;
  const [a, b, c] = [of('grpo-1'), of('prl-1'), of('steep-0')];
  assert.equal([a.method, a.seed, a.maxSteps, a.learningRate, a.maskTruncatedCompletions], ['grpo', 1, 7, 5e-4, true]);
  assert.equal([b.method, b.seed, b.maxSteps, b.eta, b.maskTruncatedCompletions], ['prl', 1, 7, 100, false]);
  assert.equal([c.method, c.seed, c.maxSteps, c.eta], ['prl', 0, 9, 5]);
});

plan('a cached folder is named after every option that decides its content', () => {
  const warm = (more: Partial<CompareRequest>) => cell({ cache: '/c', ...more }, 'prl-0').warm;
  assert.match(warm({}), /^\/c\/warm-\w{8}-seed-0$/);
  assert.is(warm({ trainer: { learningRate: 1 } }), warm({}));
  assert.not.equal(warm({ preset: 'quickstart' }), warm({}));
  assert.not.equal(warm({ model: 'm' }), warm({}));
  for (const trainer of [{ evalProblems: 3 }, { level: '3' }, { temperature: 0.5 }, { maxCompletionLength: 200 }])
    assert.not.equal(warm({ trainer }), warm({}), JSON.stringify(trainer));
  // Scenarios of one policy share its warm start, but for the levels that it is evaluated on.
  assert.is(warm({ preset: 'slips' }), warm({ preset: 'small-batch' }));
  const prm = (more: Partial<CompareRequest>) => cell({ methods: 'progrs', ...more }, 'progrs-0').prm;
  assert.not.equal(prm({ prmProblems: 30 }), prm({}));
  for (const trainer of [
    { level: '3' },
    { temperature: 0.5 },
    { maxCompletionLength: 20 },
    { stepSplit: 'length' },
    { stepLength: 7 },
    { stepTokens: [3] },
    { stepStrings: [';'] },
  ] as const)
    assert.not.equal(prm({ trainer }), prm({}), JSON.stringify(trainer));
});

plan('a resumed comparison keeps its request, and may get more seeds and methods', () => {
  const known = request({ settings: ['prl.eta=5'], trainer: { maxSteps: 3 } });
  const merged = mergeRequests(known, { settings: [], seeds: 4, learningRate: 1e-3 });
  assert.equal(merged, { ...known, seeds: 4, trainer: { maxSteps: 3, learningRate: 1e-3 } });
  const without = mergeRequests(known, { settings: ['grpo.beta=0.1'], methods: 'grpo' });
  assert.equal(without.settings, ['prl.eta=5', 'grpo.beta=0.1'], 'those of a method that is left out are kept');
  const eta = mergeRequests(without, { settings: ['prl.eta=6'], methods: 'prl' });
  assert.is((planJobs('/x', eta)[1] as CellJob).options.eta, 6);
  throwsError(
    () => mergeRequests(known, { settings: [], preset: 'quickstart' }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /has preset smoke, not quickstart/,
  );
  assert.is(mergeRequests(undefined, { settings: [] }).methods, 'grpo,raft,prl,frpo,progrs');
});

plan('wrong methods and settings are refused by name', () => {
  const arms = (more: Partial<CompareRequest>) => () => armsOf(request(more));
  const wrong = (more: Partial<CompareRequest>, kind: 'type' | 'range', code: string, message: RegExp) =>
    throwsError(arms(more), kind === 'type' ? TypeError : RangeError, `ERR_PRL_${code}`, message);
  wrong({ methods: 'grpo,prll' }, 'range', 'OUT_OF_RANGE', /Did you mean 'prl'/);
  wrong({ methods: 'grpo,grpo' }, 'type', 'INVALID_ARGUMENT', /names one twice/);
  wrong({ methods: '../x=prl' }, 'type', 'INVALID_ARGUMENT', /must list METHOD or NAME=METHOD/);
  wrong({ settings: ['eta=5'] }, 'type', 'INVALID_ARGUMENT', /must be METHOD\.option=value/);
  throwsError(
    () => mergeRequests(request(), { settings: ['plr.eta=5'] }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /has no 'plr'. Did you mean 'prl'/,
  );
  wrong({ settings: ['prl.eat=5'] }, 'type', 'UNKNOWN_OPTION', /no option 'eat'. Did you mean 'eta'/);
  wrong({ settings: ['prl.seed=5'] }, 'type', 'UNKNOWN_OPTION', /no option 'seed'/);
  wrong({ settings: ['prl.eta=x'] }, 'type', 'INVALID_ARGUMENT', /must be a number/);
  wrong({ settings: ['prl.eta=-1'] }, 'range', 'OUT_OF_RANGE', /must be above 0/);
});
plan.run();
