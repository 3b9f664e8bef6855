// One package of Debian, unpacked into a folder: for scripts/cuda-compiler.mjs. It needs neither root nor that Debian
// release; apt-get and dpkg do the work, with lists and a cache of their own.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The Debian mirror that this machine's apt uses: `{ uri, signedBy }` of the first entry whose address ends with
 * /debian. Both formats of sources are read, one line each and deb822.
 */
export function debianMirror(etc = '/etc/apt') {
  const folder = join(etc, 'sources.list.d');
  const inFolder = existsSync(folder) ? readdirSync(folder).sort() : [];
  const texts = (ending) =>
    [...(ending === '.list' ? [join(etc, 'sources.list')] : []), ...inFolder.map((name) => join(folder, name))]
      .filter((path) => path.endsWith(ending) && existsSync(path))
      .map((path) => readFileSync(path, 'utf8').replace(/^#.*\n?/gm, ''));
  const stanzas = texts('.sources')
    .flatMap((text) => text.replace(/\n(?:[ \t]*\n)+/g, '\n\n').split('\n\n'))
    .filter((stanza) => !/^Enabled:\s*(no|false|0)\s*$/im.test(stanza))
    .map((stanza) => {
      const field = (name) => stanza.match(new RegExp(`^${name}:\\s*(.+)$`, 'im'))?.[1].trim() ?? '';
      return { types: field('Types'), uris: field('URIs').split(/\s+/), signedBy: field('Signed-By') };
    });
  const lines = texts('.list')
    .flatMap((text) => [...text.matchAll(/^\s*(deb)\s+(?:\[([^\]]*)\]\s+)?(\S+)/gm)])
    .map(([, types, options = '', uri]) => ({
      types,
      uris: [uri],
      signedBy: options.match(/signed-by=(\S+)/i)?.[1] ?? '',
    }));
  for (const { types, uris, signedBy } of [...stanzas, ...lines]) {
    const uri = uris.find((each) => /\/debian\/?$/.test(each));
    if (uri && /\bdeb\b/.test(types)) return { uri, signedBy };
  }
  throw new Error(
    `CUDA 12's nvcc comes from Debian's mirror, and apt on this machine (${etc}) names none. Run this on Debian, or name a CUDA 12 toolkit with CUDACXX.`,
  );
}

function run(command, args, cwd) {
  const { error, status, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error) throw new Error(`${command} is needed: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.at(-1)} failed: ${stderr.trim()}`);
}

/** Downloads and unpacks `{ name, version, suite, component, sha256: { x64, arm64 } }` into `to`. */
export function downloadFromDebian({ name, version, suite, component, sha256 }, to) {
  const hash = sha256[process.arch];
  if (!hash) throw new Error(`Debian has ${name} for x64 and arm64, not for ${process.arch}`);
  const { uri, signedBy } = debianMirror();
  const apt = join(to, 'apt');
  for (const folder of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(apt, folder), { recursive: true });
  writeFileSync(
    join(apt, 'sources.list'),
    `deb ${signedBy.startsWith('/') ? `[signed-by=${signedBy}] ` : ''}${uri} ${suite} ${component}\n`,
  );
  const options = [
    `Dir::State::Lists=${join(apt, 'lists')}`,
    `Dir::Cache=${join(apt, 'cache')}`,
    `Dir::Etc::SourceList=${join(apt, 'sources.list')}`,
    'Dir::Etc::SourceParts=/dev/null',
    'APT::Sandbox::User=',
    'Acquire::Languages=none',
  ].flatMap((option) => ['-o', option]);
  run('apt-get', [...options, 'update'], apt);
  run('apt-get', [...options, 'download', `${name}=${version}`], apt);
  const file = readdirSync(apt).find((path) => path.endsWith('.deb'));
  const found = createHash('sha256')
    .update(readFileSync(join(apt, file)))
    .digest('hex');
  if (found !== hash) throw new Error(`${file} has the SHA-256 ${found}, not ${hash}`);
  run('dpkg', ['-x', join(apt, file), to], apt);
  rmSync(apt, { recursive: true });
}
