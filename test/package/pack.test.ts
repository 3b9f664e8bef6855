// The package as users get it: packed from a clean checkout and installed with node, npm and sh, without a compiler. It
// holds the addon that was compiled here. In CI that is the one with every CUDA target.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../lib/kernels/native.js';
import { addonPath, binaries, copyOfCheckout, temporaryFolder } from './folder.js';

/** Of the tarball, and of all that an install puts on the disk. */
const BUDGET = { tarball: 5e6, installed: 35e6 };
const folder = temporaryFolder('package');
const source = join(folder.path, 'source');
const app = join(folder.path, 'app');
const prebuilds = join(source, 'prebuilds', `${process.platform}-${process.arch}`);
const addonName = process.platform === 'linux' ? 'prl-node.glibc.node' : 'prl-node.node';
const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
const tarball = join(folder.path, `prl-node-${version}.tgz`);
const inTools = (...path: string[]) => join(packageRoot, 'node_modules', ...path);

// What a shell would have, with npm's own settings; no compilers, and nothing that this run of npm left behind.
const KEPT = /^(HOME|LANG|.*_proxy|NODE_EXTRA_CA_CERTS|npm_config_(registry|cache|userconfig|globalconfig))$/i;
const env: NodeJS.ProcessEnv = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => KEPT.test(name))),
  PATH: join(folder.path, 'bin'),
};

function run(command: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: app, encoding: 'utf8', env, ...options });
  assert.is(status, 0, `${command} ${args.join(' ')}: ${error ?? ''}${stdout}${stderr}`);
  return stdout;
}

const packed = suite('npm package');
let files: { path: string; size: number }[];
packed.before(() => {
  copyOfCheckout(source);
  mkdirSync(join(source, 'build', 'Release'), { recursive: true });
  writeFileSync(join(source, 'build', 'Release', 'left.node'), 'of a build');
  // As prebuildify does it (`npm run prebuilds`), but for compiling again.
  mkdirSync(prebuilds, { recursive: true });
  const strip = process.platform === 'darwin' ? '-Sx' : '--strip-all';
  run('strip', [strip, '-o', join(prebuilds, addonName), addonPath], { cwd: source, env: process.env });
  const said = run('npm', ['pack', '--json', '--pack-destination', folder.path], { cwd: source, env: process.env });
  [{ files }] = JSON.parse(said);
  mkdirSync(app);
  binaries(env.PATH!, ['node', 'npm', 'sh']);
});
packed.after(folder.remove);

packed('the package holds its runtime and build sources, and no tests or build output', () => {
  const paths = files.map(({ path }) => path);
  for (const path of [
    'package.json',
    'README.md',
    'docs/README.md',
    'LICENSE',
    'CMakeLists.txt',
    'dist/lib/index.js',
    'dist/lib/index.d.ts',
    'vendor/latex-syntax/latex-syntax.js',
    'vendor/latex-syntax/LICENSE',
    'dist/headers/node-addon-api/napi.h',
    'dist/headers/node-addon-api/LICENSE.md',
    'dist/headers/node-api-headers/node_api.h',
    'dist/headers/node-api-headers/LICENSE',
  ])
    assert.ok(paths.includes(path), path);
  for (const script of readdirSync(join(packageRoot, 'scripts')))
    assert.is(paths.includes(`scripts/${script}`), /^(install|build-native|toolchain)\.mjs$/.test(script), script);
  const sources = readdirSync(join(packageRoot, 'native'), { recursive: true })
    .map((file) => `native/${file}`)
    .filter((file) => statSync(join(packageRoot, file)).isFile());
  assert.equal(paths.filter((path) => path.startsWith('native/')).sort(), sources.sort());
  assert.equal(
    paths.filter((path) => path.endsWith('.node')),
    [join('prebuilds', `${process.platform}-${process.arch}`, addonName)],
  );
  const foreign =
    /^(?!dist\/|native\/|prebuilds\/|scripts\/|bench\/peers\/|examples\/|docs\/|lib\/cli\/report\/page\/|vendor\/|[^/]+$)/;
  assert.equal(
    paths.filter((path) => foreign.test(path) || /\.test\.|\.log$|\.tgz$/.test(path)),
    [],
  );
});

packed('the tarball is below its size limit', () => {
  const { size } = statSync(tarball);
  assert.ok(size > 1e5 && size < BUDGET.tarball, `${size} bytes`);
});

packed('publint and arethetypeswrong find nothing', () => {
  const tool = { cwd: folder.path, env: process.env };
  assert.match(run(process.execPath, [inTools('.bin', 'publint'), tarball, '--strict'], tool), /All good/);
  const attw = [inTools('.bin', 'attw'), tarball, '--profile', 'esm-only', '--no-definitely-typed', '--format', 'json'];
  const { problems } = JSON.parse(run(process.execPath, attw, tool));
  const found: { kind: string; entrypoint: string; resolutionKind: string }[] = Object.values(
    problems ?? {},
  ).flat() as never;
  // CommonJS reaches the package by import() only: what the profile is about. node10 knows no subpaths.
  const expected = ({ kind, entrypoint, resolutionKind }: (typeof found)[number]) =>
    kind === 'CJSResolvesToESM' || (resolutionKind === 'node10' && entrypoint !== '.');
  assert.equal(
    found.filter((problem) => !expected(problem)),
    [],
  );
});

if (process.platform === 'linux')
  packed("the addon needs at most glibc 2.34 and node's own libraries, no CUDA and no OpenMP", () => {
    const addon = join(prebuilds, addonName);
    const dynamic = run('readelf', ['-dW', addon], { env: process.env });
    const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, library]) => library.replace(/\.so.*/, ''));
    assert.ok(needed.includes('libc'), dynamic);
    const allowed = /^(libc|libm|libdl|libpthread|librt|libgcc_s|ld-linux.*)$/;
    assert.equal(
      needed.filter((library) => !allowed.test(library)),
      [],
    );
    assert.not.match(run('readelf', ['-SW', addon], { env: process.env }), /\.symtab|\.debug_/, 'stripped');
    // 2.34 is what RHEL 9 has; Debian 12 and Ubuntu 22.04 have more.
    const versions = [...run('readelf', ['-VW', addon], { env: process.env }).matchAll(/GLIBC_2\.(\d+)/g)];
    assert.ok(Math.max(...versions.map(([, minor]) => Number(minor))) <= 34, String(versions));
  });

packed('the package installs without a compiler and uses the prebuilt addon', () => {
  for (const compiler of ['cmake', 'c++', 'g++', 'python3'])
    assert.ok(spawnSync(compiler, ['--version'], { env }).error, `${compiler} is not on the PATH`);
  writeFileSync(join(app, 'package.json'), '{ "name": "app", "type": "module", "private": true }');
  // Strict: a dependency that does not support this node is an error.
  run('npm', ['install', '--engine-strict', '--prefer-offline', '--no-audit', '--no-fund', tarball]);
  assert.not(existsSync(join(app, 'node_modules', 'prl-node', 'build')), 'nothing was compiled');
  const { addon, tools, missing } = JSON.parse(run(join(app, 'node_modules', '.bin', 'prl'), ['doctor', '--json']));
  assert.is(addon.origin, 'prebuilt');
  assert.equal([tools.cmake, tools['c++']], [null, null]);
  assert.equal(missing, []);
});

packed('the installed size is below its limit, without packages that only compiling needs', () => {
  const modules = join(app, 'node_modules');
  // Blocks of 512 bytes, as du counts.
  const size = readdirSync(modules, { recursive: true }).reduce(
    (sum, path) => sum + lstatSync(join(modules, String(path))).blocks * 512,
    0,
  );
  assert.ok(size > 1e6 && size < BUDGET.installed, `${size} bytes`);
  for (const name of ['cmake-js', 'node-addon-api', 'node-api-headers', '@cortex-js'])
    assert.not(existsSync(join(modules, name)), name);
});

const RECORD = `
  import { writeSync } from 'node:fs';
  import { register } from 'node:module';
  const load = 'import { writeSync } from "node:fs"; export const load = (url, context, next) => (writeSync(1, url + "\\\\n"), next(url, context));';
  register('data:text/javascript,' + encodeURIComponent(load));`;

/** The files that importing this loads. */
function loadedBy(name: string): string[] {
  writeFileSync(join(app, 'record.mjs'), RECORD);
  writeFileSync(join(app, 'import.mjs'), `import '${name}';`);
  const urls = run('node', ['--import', './record.mjs', 'import.mjs']).trim().split('\n');
  const files = urls.flatMap((url) => url.split('/node_modules/').slice(1));
  assert.ok(files.length > 5, urls.join('\n'));
  return files;
}

packed('a subpath loads its own part only', () => {
  const beyond = (name: string, allowed: RegExp) =>
    assert.equal(
      loadedBy(name).filter((file) => !allowed.test(file)),
      [],
      name,
    );
  beyond('prl-node/kernels', /^(prl-node\/dist\/lib\/(kernels|base)|fastest-levenshtein)\//);
  beyond('prl-node/verify', /^(prl-node\/(dist\/lib\/(tasks\/verify|base)|vendor)|fastest-levenshtein|fraction\.js)\//);
  beyond('prl-node/serve', /^(prl-node\/dist\/lib\/(rollout\/serve|policy|hub|kernels|base)|fastest-levenshtein)\//);
});

packed('a subpath exports the same code as the package', () => {
  const program = `
    import * as all from 'prl-node';
    for (const part of ['kernels', 'verify', 'serve']) {
      const names = Object.entries(await import('prl-node/' + part));
      if (names.length === 0) throw new Error(part + ' exports nothing');
      for (const [name, value] of names) if (all[name] !== value) throw new Error(part + ' has a ' + name + ' of its own');
    }
    const { verifyMath } = await import('prl-node/verify');
    console.log((await verifyMath('\\\\boxed{\\\\frac{2}{4}}', '0.5')).correct);`;
  writeFileSync(join(app, 'subpaths.js'), program);
  assert.is(run('node', ['subpaths.js']).trim(), 'true');
});

packed('a program imports the package and runs a kernel', () => {
  const program = `
    import { policyLossFromLogits, Tensor } from 'prl-node';
    const logits = Tensor.from(new Float32Array(8), [2, 4]);
    const batch = { targets: Int32Array.of(0, 3), advantages: Float32Array.of(1, -0.5), cuSeqlens: Int32Array.of(0, 1, 2) };
    const { loss, logProbs } = policyLossFromLogits({ logits, ...batch, gradient: 'inplace' });
    console.log(JSON.stringify({ loss, logProbs: [...logProbs.data], gradient: [...logits.data] }));`;
  writeFileSync(join(app, 'kernel.js'), program);
  const { loss, logProbs, gradient } = JSON.parse(run('node', ['kernel.js']));
  // Uniform over 4 tokens: every ratio is 1, the loss -(1 - 0.5) / 2.
  const near = (actual: number[], expected: number[]) => {
    assert.is(actual.length, expected.length);
    actual.forEach((value, i) => {
      assert.ok(Math.abs(value - expected[i]) <= 1e-6, `${value}, not ${expected[i]}`);
    });
  };
  near([loss], [-0.25]);
  near(logProbs, [-Math.log(4), -Math.log(4)]);
  near(gradient, [-0.375, 0.125, 0.125, 0.125, -0.0625, -0.0625, -0.0625, 0.1875]);
});

const MODEL = `
  import { ArithmeticTask, Policy } from 'prl-node';
  const { tokenizer } = new ArithmeticTask();
  const config = { model_type: 'llama', hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2 };
  const { vocabSize: vocab_size, eosTokenId: eos_token_id } = tokenizer;
  await Policy.create({ ...config, vocab_size, eos_token_id, tie_word_embeddings: true }, { seed: 1 }).save('model');
  await tokenizer.save('model');`;

packed('the commands of the package work', () => {
  const prl = join(app, 'node_modules', '.bin', 'prl');
  assert.is(run(prl, ['--version']).trim(), version);
  assert.is(run(`${prl}-node`, ['--version']).trim(), version, 'npx prl-node');
  writeFileSync(join(app, 'model.js'), MODEL);
  run('node', ['model.js']);
  const small = ['--max-steps', '1', '--prompts-per-step', '2', '--num-generations', '2', '--eval-problems', '2'];
  run(prl, ['train', '--model', 'model', ...small, '--eval-samples', '1', '--output', 'run']);
  run(prl, ['report', 'run']);
  assert.ok(existsSync(join(app, 'run', 'summary.json')) && existsSync(join(app, 'run', 'report.html')));
});

const PROGRAM = `
import { ArithmeticTask, Policy, Tensor, Trainer, type TrainerOptions } from 'prl-node';
import { policyLossFromLogits } from 'prl-node/kernels';
import { type ServeOptions, serve } from 'prl-node/serve';
import { type MathVerdict, verifyMath } from 'prl-node/verify';

const logits: Tensor = Tensor.from(new Float32Array(8), [2, 4], { dtype: 'bfloat16' });
const advantages = Float32Array.of(1, -0.5);
const { loss } = policyLossFromLogits({ logits, targets: Int32Array.of(0, 3), advantages, cuSeqlens: Int32Array.of(0, 1, 2) });
const known: number = loss;
// @ts-expect-error: no such dtype
Tensor.from(new Float32Array(8), [2, 4], { dtype: 'float8' });

export const verdict: Promise<MathVerdict> = verifyMath('1', '1');
export const server = (options: ServeOptions) => serve(options);
export async function train(policy: Policy, options: TrainerOptions, level?: string): Promise<number> {
  let reward = known;
  const trainer = new Trainer({ policy, task: new ArithmeticTask(), ...options, method: 'prl', eta: 200, level });
  for await (const { metrics, measures } of trainer.run()) {
    reward = metrics.reward + (metrics.kl ?? 0) + (measures.share_step_by_step ?? 0);
    // @ts-expect-error: no such metric
    reward += metrics.rewrad;
    // @ts-expect-error: not in every step
    reward += metrics['eval/pass_at_n'];
  }
  return reward;
}
`;
/** Those that need no types of node. */
const EXAMPLES = ['kernels.ts', 'reward.ts', 'task.ts'];
for (const [module, moduleResolution] of [
  ['node16', 'node16'],
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
] as const)
  packed(`a TypeScript program and our declarations type-check with ${moduleResolution}`, () => {
    writeFileSync(join(app, 'program.ts'), PROGRAM);
    for (const name of EXAMPLES) copyFileSync(join(packageRoot, 'examples', name), join(app, name));
    const options = {
      module,
      moduleResolution,
      target: 'es2022',
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      verbatimModuleSyntax: true,
      isolatedModules: true,
      skipLibCheck: false,
      noEmit: true,
      types: [],
    };
    writeFileSync(
      join(app, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, files: ['program.ts', ...EXAMPLES] }),
    );
    run('node', [inTools('typescript', 'bin', 'tsc'), '-p', '.']);
  });
packed('without an addon the package and npm say what to install', () => {
  rmSync(join(app, 'node_modules', 'prl-node', 'prebuilds'), { recursive: true });
  const used = spawnSync('node', ['kernel.js'], { cwd: app, encoding: 'utf8', env });
  assert.is(used.status, 1);
  assert.match(used.stderr, /ERR_PRL_NATIVE_MISSING/);
  assert.match(used.stderr, /no prebuilt addon fits .* Run 'npm rebuild prl-node'/);
  const doctor = spawnSync(join(app, 'node_modules', '.bin', 'prl'), ['doctor'], { encoding: 'utf8', env });
  assert.is(doctor.status, 1);
  assert.match(doctor.stdout, /^ {2}run: apt-get install cmake make g\+\+ && npm rebuild prl-node$/m);
  const rebuild = spawnSync('npm', ['rebuild', 'prl-node'], { cwd: app, encoding: 'utf8', env });
  assert.is.not(rebuild.status, 0);
  assert.match(rebuild.stderr, /lacks cmake 3\.22 or newer, make, a C\+\+17 compiler/);
});
packed.run();
