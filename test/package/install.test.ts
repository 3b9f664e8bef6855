// The decisions of the install script. The compilers are fakes that record what was asked of them, so nothing is
// compiled.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../lib/kernels/native.js';
import { addonPath, binaries, fake, temporaryFolder } from './folder.js';

const here = `${process.platform}-${process.arch}`;
const folder = temporaryFolder('install');
const installed = join(folder.path, 'prl-node');
const prebuilt = join(installed, 'prebuilds', here, 'prl-node.node');
const compiled = join(installed, 'build', 'Release', 'prl.node');
const asked = join(folder.path, 'asked-of-cmake');
const bare = join(folder.path, 'bare');
const tools = join(folder.path, 'tools');

/** A cmake that "compiles" by putting the addon where the real one would; the folder is the argument after --build. */
const CMAKE = `
[ "$1" = --version ] && echo "cmake version 3.25.1" && exit
echo "$@" >> '${asked}'
[ "$1" = --build ] && mkdir -p "$2/Release" && cp '${addonPath}' "$2/Release/prl.node"
exit 0`;

function install(env: Record<string, string> = {}, nodeArgs: string[] = [], where = installed) {
  rmSync(asked, { force: true });
  const { status, stdout, stderr } = spawnSync(process.execPath, [...nodeArgs, join(where, 'scripts', 'install.mjs')], {
    cwd: where,
    encoding: 'utf8',
    env: { PATH: `${bare}:${tools}`, PRL_CUDA_ARCH: 'none', ...env },
  });
  return { status, stdout, stderr, cmake: existsSync(asked) ? readFileSync(asked, 'utf8') : '' };
}

function copy(parts: string[], to: string) {
  for (const part of parts) cpSync(join(packageRoot, part), join(to, part), { recursive: true });
  symlinkSync(join(packageRoot, 'node_modules'), join(to, 'node_modules'));
}

const scripts = suite('install script');
scripts.before(() => {
  copy(['scripts', 'package.json', 'CMakeLists.txt'], installed);
  binaries(bare, ['node', 'sh', 'mkdir', 'cp']);
  fake(tools, 'cmake', CMAKE);
  fake(tools, 'make', '');
  fake(tools, 'c++', '');
});
scripts.after(folder.remove);
scripts.before.each(() => {
  for (const made of ['build', 'prebuilds']) rmSync(join(installed, made), { recursive: true, force: true });
  mkdirSync(join(installed, 'prebuilds', here), { recursive: true });
  copyFileSync(addonPath, prebuilt);
});

scripts('a prebuilt addon that works is kept and nothing is compiled', () => {
  mkdirSync(join(installed, 'build', 'Release'), { recursive: true });
  writeFileSync(compiled, 'of an earlier install');
  const { status, stderr, cmake } = install({ PATH: bare });
  assert.is(status, 0, stderr);
  assert.is(cmake, '');
  assert.not(existsSync(compiled), 'it would be loaded before the prebuilt one');
  assert.ok(existsSync(prebuilt));
});

const compiles = (reason: RegExp, env?: Record<string, string>) => {
  const { status, stdout, stderr, cmake } = install(env);
  assert.is(status, 0, stderr);
  assert.match(stdout, /compiling the addon, because /);
  assert.match(stdout, reason);
  assert.match(cmake, /-DPRL_CUDA=OFF/);
  const headers = (name: string) => join(installed, 'dist', 'headers', name);
  assert.ok(cmake.includes(`-DCMAKE_JS_INC=${headers('node-api-headers')};${headers('node-addon-api')}`), cmake);
  assert.match(cmake, /--build/);
  assert.equal(statSync(compiled).size, statSync(addonPath).size);
  assert.equal(existsSync(join(installed, 'build', 'cmake')), false, 'what only the compilation needs is removed');
};

scripts('install compiles when there is no prebuilt addon', () => {
  rmSync(join(installed, 'prebuilds'), { recursive: true });
  compiles(new RegExp(`no prebuilt addon for ${here} \\(only: nothing\\)`));
});

scripts('install compiles when the prebuilt addons are for other platforms, and lists them', () => {
  rmSync(join(installed, 'prebuilds'), { recursive: true });
  mkdirSync(join(installed, 'prebuilds', 'plan9-mips'), { recursive: true });
  copyFileSync(addonPath, join(installed, 'prebuilds', 'plan9-mips', 'prl-node.node'));
  compiles(new RegExp(`no prebuilt addon for ${here} \\(only: plan9-mips/prl-node\\.node\\)`));
});

scripts('install compiles on musl when the prebuilt addon is for glibc', () => {
  if (process.platform !== 'linux') return;
  renameSync(prebuilt, join(installed, 'prebuilds', here, 'prl-node.glibc.node'));
  compiles(new RegExp(`no prebuilt addon for ${here} \\(only: ${here}/prl-node\\.glibc\\.node\\)`), { LIBC: 'musl' });
});

// What an nvcc before 12.8 prints, when CMake first looks and when the sources are compiled.
const NVCC_ERRORS = {
  configure: "nvcc fatal   : Unsupported gpu architecture 'compute_120'",
  compile: "nvcc fatal   : Unknown option '--compress-mode=size'",
};
for (const [stage, message] of Object.entries(NVCC_ERRORS))
  scripts(`where nvcc does not ${stage} the addon, install says why and compiles for the CPU`, () => {
    const cuda = join(folder.path, `cuda-${stage}`);
    const configuredWithCuda = join(folder.path, `configured-${stage}`);
    const fail = `{ { echo "CMake Error at CMakeLists.txt:9"; echo "make: errors.cc.o"; echo "${message}"; } >&2; exit 1; }`;
    fake(
      cuda,
      'cmake',
      CMAKE.replace(
        'exit 0',
        `case "$@" in
          *PRL_CUDA=ON*) echo yes > '${configuredWithCuda}'; [ ${stage} = configure ] && ${fail};;
          *PRL_CUDA=OFF*) echo no > '${configuredWithCuda}';;
          --build*) read -r with < '${configuredWithCuda}'; [ $with = yes ] && ${fail};;
        esac
        exit 0`,
      ),
    );
    fake(cuda, 'nvcc', 'echo "Cuda compilation tools, release 12.4, V12.4.131"');
    rmSync(join(installed, 'prebuilds'), { recursive: true });
    const env = { PATH: `${bare}:${cuda}:${tools}`, CUDACXX: join(cuda, 'nvcc') };
    const { status, stdout, stderr, cmake } = install({ ...env, PRL_CUDA_ARCH: '' });
    assert.is(status, 0, stderr);
    assert.match(stdout, /prl\.node \(CPU only: nvcc 12\.4 did not compile it\)/);
    assert.match(cmake, /-DPRL_CUDA=OFF -DPRL_NO_CUDA=nvcc 12\.4 did not compile it/);
    const last = stderr.slice(stderr.indexOf('prl-node: NO CUDA.'));
    assert.match(last, /nvcc does not compile the addon for 90a-real/);
    assert.ok(last.includes(`\n\n  ${message}\n\n`), last);
    assert.match(
      last,
      /compiled for the CPU only.* CUDA 12\.4 or newer:\n\n {2}CUDACXX=\/path\/to\/nvcc npm rebuild prl-node/,
    );
    // Whoever asks for CUDA wants no addon without it.
    const asked = install({ ...env, PRL_CUDA_ARCH: '90a-real' });
    assert.is(asked.status, 1);
    assert.ok(asked.stderr.includes(message));
    assert.not.match(asked.cmake, /-DPRL_CUDA=OFF/);
  });

scripts('the targets follow the GPU and what nvcc knows of it', async () => {
  const { cudaTargets } = await import(join(packageRoot, 'scripts', 'build-native.mjs'));
  const gpu = join(folder.path, 'gpu');
  const { PATH } = process.env;
  const targets = (capabilities: string, known: string, asked = '') => {
    fake(gpu, 'nvidia-smi', `printf '${capabilities}'`);
    fake(gpu, 'nvcc', `[ "$1" = --list-gpu-arch ] && printf '${known}'`);
    process.env.PATH = gpu;
    try {
      return cudaTargets(asked, join(gpu, 'nvcc'));
    } finally {
      process.env.PATH = PATH;
    }
  };
  const cuda12 = 'compute_75\\ncompute_80\\ncompute_86\\ncompute_89\\ncompute_90\\n';
  assert.is(targets('8.6\\n8.6\\n', cuda12), '86-real');
  assert.is(targets('9.0\\n', cuda12), '90a-real');
  assert.is(targets('12.0\\n8.9\\n', cuda12), '90-virtual;89-real', 'Blackwell runs the PTX of an older nvcc');
  assert.is(targets('12.0\\n', `${cuda12}compute_120\\n`), '120-real');
  assert.is(targets('7.0\\n', cuda12), '90a-real', 'a GPU that is too old for the kernels');
  assert.is(targets('9.0\\n', ''), '90a-real', 'an nvcc that lists nothing');
  assert.is(targets('', cuda12, 'all'), '75-real;80-real;86-real;89-real;90a-real;90-virtual');
  assert.is(targets('', cuda12, '120-real'), '120-real', 'as it was asked for');
});

scripts('install compiles when the prebuilt addon is broken, and says why', () => {
  writeFileSync(prebuilt, 'no addon');
  compiles(/prl-node\.node does not work here \(.*(file too short|invalid ELF|slice is not valid)/);
  // Cut short: what it takes to load it is there, what it takes to run is not.
  copyFileSync(addonPath, prebuilt);
  truncateSync(prebuilt, 300_000);
  rmSync(join(installed, 'build'), { recursive: true });
  compiles(/prl-node\.node does not work here \(.+\)/);
});

scripts('install compiles with --build-from-source', () =>
  compiles(/build-from-source was requested/, { npm_config_build_from_source: 'true' }),
);

const lacking = (env: Record<string, string>) => {
  rmSync(join(installed, 'prebuilds'), { recursive: true, force: true });
  const { status, stderr, cmake } = install(env);
  assert.is(status, 1);
  assert.is(cmake, '', 'it does not begin');
  assert.match(stderr, /prl-node: the addon must be compiled, because there is no prebuilt addon for/);
  return stderr;
};

scripts('without any build tool the error has the one command that installs all of them', () => {
  const stderr = lacking({ PATH: bare });
  assert.match(stderr, /lacks cmake 3\.22 or newer, make, a C\+\+17 compiler/);
  assert.match(stderr, /^ {2}apt-get install cmake make g\+\+$/m);
});

scripts('a single missing tool is named alone', () => {
  const old = join(folder.path, 'old');
  fake(old, 'cmake', 'echo "cmake version 3.16.3"');
  assert.match(
    lacking({ PATH: `${bare}:${old}:${tools}` }),
    /lacks cmake 3\.22 or newer\. Run:\n\n {2}apt-get install cmake\n/,
  );
  const failing = join(folder.path, 'failing');
  fake(failing, 'c++', 'exit 1');
  assert.match(
    lacking({ PATH: `${bare}:${failing}:${tools}` }),
    /lacks a C\+\+17 compiler .*\n\n {2}apt-get install g\+\+\n/,
  );
  const fedora = join(folder.path, 'fedora');
  fake(fedora, 'dnf', '');
  assert.match(lacking({ PATH: `${bare}:${fedora}:${failing}:${tools}` }), /\n {2}dnf install gcc-c\+\+\n/);
});

scripts('a failed compilation shows its messages and fails the install', () => {
  const failing = join(folder.path, 'failing-cmake');
  fake(
    failing,
    'cmake',
    '[ "$1" = --version ] && echo "cmake version 3.25.1" && exit\necho "error: line 7" >&2; exit 1',
  );
  rmSync(join(installed, 'prebuilds'), { recursive: true });
  const { status, stderr } = install({ PATH: `${bare}:${failing}:${tools}` });
  assert.is(status, 1);
  assert.match(stderr, /error: line 7/);
  assert.match(stderr, /prl-node: the addon did not compile/);
  assert.not(existsSync(compiled));
});

scripts('in a checkout install compiles what has changed by content, and says why', () => {
  const checkout = join(folder.path, 'checkout');
  copy(['scripts', 'package.json', 'CMakeLists.txt', 'native', 'lib/index.ts'], checkout);
  const again = (env?: Record<string, string>) => {
    const { status, stdout, stderr, cmake } = install(env, [], checkout);
    assert.is(status, 0, stderr);
    assert.is(cmake !== '', stdout !== '', stdout);
    return stdout;
  };
  const addon = join(checkout, 'build', 'Release', 'prl.node');
  assert.match(again(), /compiling the addon, because this checkout has none yet/);
  assert.is(again(), '');
  assert.is(again({ PRL_CUDA_ARCH: '' }), '', 'nothing is asked for: any targets serve');
  const source = join(checkout, 'native', 'binding', 'addon.cc');
  utimesSync(source, new Date(), new Date());
  assert.is(again(), '', 'newer, and the same');
  writeFileSync(source, `${readFileSync(source, 'utf8')}\n`);
  assert.match(again(), /because its sources have changed/);
  assert.is(again(), '');
  truncateSync(addon, 100);
  assert.match(again(), /because the existing one does not work here/);
  assert.match(again({ npm_config_build_from_source: 'true' }), /build-from-source was requested/);
  const asked = install({ PRL_CUDA_ARCH: '90a-real', CUDACXX: '' }, [], checkout);
  assert.match(asked.stdout, /because PRL_CUDA_ARCH is 90a-real, but was none/);
});

scripts('an unsupported platform is refused by name', () => {
  const pretend = 'data:text/javascript,Object.defineProperty(process,"platform",{value:"win32"})';
  const { status, stderr } = install({}, ['--import', pretend]);
  assert.is(status, 1);
  assert.is(stderr.trim(), 'prl-node: it runs on Linux and macOS, not on win32. On Windows, use it inside WSL.');
});
scripts.run();
