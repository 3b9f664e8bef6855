// docs/adding-a-loss.md must hold: its edits are applied to a copy of the sources, reference included. The copy must
// compile, and its losses and gradients must be those of its reference. The copy's addon has policyLoss alone, for one
// instruction set, so that it builds in five seconds.
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { register } from 'tsx/esm/api';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../lib/kernels/native.js';
import { near, UNIT_ROUNDOFF } from './reference/numbers.js';

register(); // of the copy, which is TypeScript
const copy = join(packageRoot, 'build', 'docs-loss');
const page = readFileSync(join(packageRoot, 'docs', 'adding-a-loss.md'), 'utf8');
/** Everything that policyLoss on the CPU needs, but for the kernel. */
const SOURCES = [
  ...['binding/args', 'binding/clipped_loss', 'binding/cuda', 'binding/errors', 'binding/loss_args'],
  ...['kernels/clipped_loss/clipped_loss', 'kernels/failures'],
  ...['kernels/quantile_loss/quantile_loss', 'kernels/token_logprob/token_logprob'],
  ...['runtime/cpu/isa', 'runtime/cpu/scratch', 'runtime/cpu/thread_pool', 'runtime/cuda/none', 'runtime/status'],
];
const ENTRY = `
static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new prl::AddonData());
  exports.Set("initialize", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    info.Env().GetInstanceData<prl::AddonData>()->prl_error = Napi::Persistent(info[0].As<Napi::Function>());
  }));
  prl::RegisterClippedLoss(env, exports);
  return exports;
}
NODE_API_MODULE(prl, Init)
`;

function run(command: string, args: string[]) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  assert.is(status, 0, `${command} ${args.join(' ')}\n${error ?? ''}${stdout}${stderr}`);
}

/** The lines of `old`, which stand once in the file, whatever the blanks between words, become those of `now`. */
function edit(file: string, old: string[], now: string[]) {
  const lines = readFileSync(join(copy, file), 'utf8').split('\n');
  const plain = (line: string) => line.trim().replaceAll(/\s+/g, ' ');
  const places = lines.flatMap((_, at) =>
    old.every((line, i) => plain(lines[at + i] ?? '') === plain(line)) ? [at] : [],
  );
  assert.is(places.length, 1, `docs/adding-a-loss.md: in ${file} these lines must stand once:\n${old.join('\n')}`);
  lines.splice(places[0], old.length, ...now);
  writeFileSync(join(copy, file), lines.join('\n'));
}

/** The kernels of the copy on its own addon. Other tests of this process keep theirs. */
async function withAddon(addon: string) {
  const before = process.env.PRL_NATIVE;
  process.env.PRL_NATIVE = addon;
  try {
    (await import(join(copy, 'lib/kernels/native.ts'))).native();
  } finally {
    if (before === undefined) delete process.env.PRL_NATIVE;
    else process.env.PRL_NATIVE = before;
  }
  return import(join(copy, 'lib/kernels/policy-loss.ts'));
}

test('the examples of adding-a-loss.md touch as many files as their headings say', () => {
  rmSync(copy, { recursive: true, force: true });
  for (const folder of ['lib', 'native', 'vendor', 'test/reference'])
    cpSync(join(packageRoot, folder), join(copy, folder), { recursive: true });
  cpSync(join(packageRoot, 'package.json'), join(copy, 'package.json'));
  let examples = 0;
  for (const section of page.split(/^## /m)) {
    const files = new Set<string>();
    for (const [, file, body] of section.matchAll(/^```diff\n--- (.*)\n([\s\S]*?)\n```/gm)) {
      const side = (sign: string) => body.split('\n').filter((line) => line[0] === ' ' || line[0] === sign);
      edit(file, ...(['-', '+'].map((sign) => side(sign).map((line) => line.slice(1))) as [string[], string[]]));
      files.add(file);
    }
    if (files.size === 0) continue;
    assert.is(
      /: (\w+) files\n/.exec(section)?.[1],
      ['', 'one', 'two', 'three', 'four'][files.size],
      section.slice(0, 60),
    );
    examples++;
  }
  assert.is(examples, 3);
});

test('the examples of adding-a-loss.md compile, and the Trainer has their option', async () => {
  const { policyLossOptions } = await import(join(packageRoot, 'tools/api/loss-options.mjs'));
  const { optionTypes } = await import(join(packageRoot, 'tools/api/option-types.mjs'));
  const type = policyLossOptions(await import(join(copy, 'lib/kernels/loss-table.ts')), packageRoot);
  assert.match(
    type,
    /\/\*\* Weight of the policy term .* Default 1\. At least 0\. \*\/\n {2}positiveWeight\?: number \| undefined;/,
  );
  writeFileSync(join(copy, 'lib/kernels/policy-loss-options.ts'), type);
  const { TRAINER_OPTIONS } = await import(join(copy, 'lib/train/options.ts'));
  const file = 'train/trainer-options.ts';
  writeFileSync(join(copy, 'lib', file), optionTypes(file, TRAINER_OPTIONS, packageRoot));
  const config = { extends: '../../tsconfig.json', include: ['lib/kernels', 'lib/train', 'test'], exclude: [] };
  writeFileSync(join(copy, 'tsconfig.json'), JSON.stringify(config));
  run(join(packageRoot, 'node_modules', '.bin', 'tsc'), ['-p', copy]);
  const doc = 'Weight of the policy term where the advantage is positive, arXiv 2506.01347';
  assert.equal(TRAINER_OPTIONS.positiveWeight, { type: 'number', default: 1, min: 0, doc });
});

test('the examples of adding-a-loss.md give the loss and gradient of the reference', async () => {
  const native = join(copy, 'native');
  const require = createRequire(import.meta.url);
  const compile = (source: string, object: string, ...flags: string[]) =>
    run(process.env.CXX ?? 'c++', [
      ...['-std=gnu++17', '-O0', '-fPIC', '-fvisibility=hidden', '-c', source, '-o', object, `-I${native}`],
      ...['-DNAPI_VERSION=8', '-DNAPI_CPP_EXCEPTIONS', ...flags],
      `-I${require('node-addon-api').include_dir}`,
      `-I${require('node-api-headers').include_dir}`,
    ]);
  const [all, kernel, addon] = ['all.o', 'kernel.o', 'prl.node'].map((name) => join(copy, name));
  writeFileSync(join(copy, 'all.cc'), SOURCES.map((source) => `#include "${source}.cc"\n`).join('') + ENTRY);
  compile(join(copy, 'all.cc'), all);
  compile(join(native, 'kernels/clipped_loss/clipped_loss_cpu.cc'), kernel, '-DPRL_ISA=generic', '-DPRL_ISA_generic=1');
  const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-pthread'];
  run(process.env.CXX ?? 'c++', [...link, all, kernel, '-o', addon]);

  const { policyLoss } = await withAddon(addon);
  const reference = await import(join(copy, 'test/reference/clipped-loss.ts'));
  const { OPTIONS, makeInputs, toCase, lossValue, differences } =
    reference as typeof import('./reference/clipped-loss.js');
  const kinds: Record<string, number> = {};
  for (const [i, o] of OPTIONS.entries()) {
    const inputs = makeInputs(10 * i + 1, o);
    const { logProbs, entropy, batch, options } = inputs;
    const c = toCase(inputs);
    const out = policyLoss({ logProbs, entropy, ...batch, ...options });
    near([out.loss], [lossValue(c)], 1e-12, `loss ${JSON.stringify(o)}`);
    const gradient = await out.dLogProbs.read();
    near(gradient, differences(c, 'logProbs'), 1e-8, `dLogProbs ${JSON.stringify(o)}`, 4 * UNIT_ROUNDOFF.float32);
    const added = 'positiveWeight' in o ? 'positiveWeight' : (o.lossType as string);
    kinds[added] = (kinds[added] ?? 0) + 1;
    // Each of the three changes the loss: the one that it was made from gives another.
    const before = { positiveWeight: 'dapo', reinforce: 'raft', topr: 'raft' }[added];
    if (!before) continue;
    const { positiveWeight: _, ...rest } = options as Record<string, unknown>;
    const other = policyLoss({ logProbs, entropy, ...batch, ...rest, lossType: before });
    assert.ok(Math.abs(other.loss - out.loss) > 1e-3, `${added}: ${other.loss}, ${out.loss}`);
  }
  assert.ok(kinds.positiveWeight && kinds.reinforce && kinds.topr, JSON.stringify(kinds));
});
test.run();
