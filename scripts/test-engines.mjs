// Tests with real peers (test/engines): Thinking Machines' SDK, two versions, against `prl serve --tinker`.
//
//   node scripts/test-engines.mjs [PATTERN]        PATTERN: of the test files under test/engines
//
// It makes a virtual environment for each peer in build/engines, once: python3 of 3.11 or newer with venv and pip is
// required, and the package index that pip is set up for. 350 MB and a minute each. PRL_TEST_ENGINES: a folder that
// has them. A peer that cannot be fetched is an error; with --allow-missing it is skipped, and the last lines say so.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PEERS = [
  { name: 'tinker-0.38.0', packages: ['tinker==0.38.0'] },
  { name: 'tinker-0.19.0', packages: ['tinker==0.19.0'] },
];
const scripts = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.env.PRL_TEST_ENGINES ?? join(scripts, '..', 'build', 'engines'));

/** A file in an environment that is being made. */
const UNFINISHED = 'unfinished';

const run = (command, args) => spawnSync(command, args, { encoding: 'utf8' });

/** The first Python that is new enough. */
function findPython() {
  const isNew = 'import sys, venv; sys.exit(sys.version_info < (3, 11))';
  return ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11'].find(
    (name) => run(name, ['-c', isNew]).status === 0,
  );
}

/** Makes a peer's environment. @returns what went wrong; undefined if nothing did */
function fetchPeer({ name, packages }, python) {
  const at = join(folder, name);
  if (existsSync(join(at, 'bin', 'python')) && !existsSync(join(at, UNFINISHED))) return undefined;
  if (!python) return 'python3 of 3.11 or newer with venv is needed';
  console.log(`fetching ${packages.join(' ')}`);
  mkdirSync(folder, { recursive: true });
  rmSync(at, { recursive: true, force: true });
  mkdirSync(at);
  writeFileSync(join(at, UNFINISHED), '');
  for (const [command, args] of [
    [python, ['-m', 'venv', at]],
    [join(at, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]],
  ]) {
    const { status, stderr, error } = run(command, args);
    if (status === 0) continue;
    rmSync(at, { recursive: true, force: true });
    return `${error ?? stderr.trim().split('\n').slice(-3).join('\n')}`;
  }
  rmSync(join(at, UNFINISHED));
  return undefined;
}

const python = findPython();
const missing = PEERS.map((peer) => ({ peer, why: fetchPeer(peer, python) })).filter(({ why }) => why !== undefined);
const [pattern = ''] = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
let status = 0;
if (missing.length < PEERS.length)
  ({ status } = spawnSync(process.execPath, [join(scripts, 'test.mjs'), `^engines/${pattern}`], {
    stdio: 'inherit',
    env: { ...process.env, PRL_TEST_ENGINES: folder },
  }));
for (const { peer, why } of missing) console.log(`test:engines: ${peer.name} WAS NOT TESTED: ${why}`);
process.exit(status || (missing.length > 0 && !process.argv.includes('--allow-missing') ? 1 : 0));
