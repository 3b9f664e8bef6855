// The package in the test runners that people use. Jest, and vitest with vmThreads, give each test file a realm of its
// own, where `instanceof` is false for what node and the addon make. runners/ is a package of its own: npm ci in a
// checkout does not install the runners. They stay in build/runners until their lock file changes.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../lib/kernels/native.js';
import { addonPath } from './folder.js';

const source = join(dirname(fileURLToPath(import.meta.url)), 'runners');
const project = join(packageRoot, 'build', 'runners');
const inProject = (...path: string[]) => join(project, ...path);
const inModules = (...path: string[]) => inProject('node_modules', ...path);

function run(command: string, args: string[], cwd = project): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', PRL_NATIVE: addonPath, CI: '1', NODE_NO_WARNINGS: '1' },
  });
  assert.is(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout + stderr;
}

/** Installs the runners, unless those of this lock file are there. */
function installRunners() {
  const lock = readFileSync(join(source, 'package-lock.json'), 'utf8');
  const installed = inProject('package-lock.json');
  if (existsSync(inModules('.package-lock.json')) && readFileSync(installed, 'utf8') === lock) return;
  mkdirSync(project, { recursive: true });
  for (const name of ['package.json', 'package-lock.json']) copyFileSync(join(source, name), inProject(name));
  run('npm', ['ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']);
}

/** Unpacks the package. Its dependencies are found in the checkout, above. */
function unpack() {
  const packed = run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], packageRoot);
  const tarball = inProject(packed.match(/"filename": "(.*)"/)![1]);
  rmSync(inModules('prl-node'), { recursive: true, force: true });
  mkdirSync(inModules('prl-node'), { recursive: true });
  run('tar', ['-xzf', tarball, '-C', inModules('prl-node'), '--strip-components=1']);
  rmSync(tarball);
}

const runners = suite('test runners');
runners.before(() => {
  installRunners();
  unpack();
  // Twice: jest -i runs both in one process, each in a realm of its own.
  for (const name of ['realm', 'again']) copyFileSync(join(source, 'realm.test.js'), inProject(`${name}.test.js`));
});

const TESTS = 12;

runners('jest', () => {
  const jest = ['--experimental-vm-modules', inModules('jest', 'bin', 'jest.js')];
  const said = run(process.execPath, [...jest, '--runInBand', '--detectOpenHandles', '--colors=false']);
  assert.match(said, new RegExp(`^Tests: +${TESTS} passed, ${TESTS} total$`, 'm'));
  assert.not.match(said, /did not exit|open handle|leak/i);
});

for (const pool of ['vmThreads', 'threads', 'forks'])
  runners(`vitest with ${pool}`, () => {
    const vitest = [inModules('vitest', 'vitest.mjs'), 'run', '--globals', '--pool', pool, '--color=false'];
    const said = run(process.execPath, vitest);
    assert.match(said, new RegExp(`^ +Tests +${TESTS} passed \\(${TESTS}\\)$`, 'm'));
    assert.not.match(said, /close timed out|hanging|Unhandled/i);
  });

runners.run();
