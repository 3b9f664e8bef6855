// Files and folders that are either whole or absent, whenever the process or the machine stops.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Begins the names of what is being written; whatever carries it after a crash is rubbish. */
export const TEMPORARY = '.tmp-';

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function writeFileAtomic(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `${TEMPORARY}${process.pid}-${path.slice(dirname(path).length + 1)}`);
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await sync(dirname(path));
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

/**
 * Fills a folder under a temporary name, adds manifest.json with the size and SHA-256 of every file, and only then gives it
 * its name; folders in it are legal. An older folder of that name is replaced.
 */
export async function writeFolderAtomic(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const parent = dirname(path);
  await mkdir(parent, { recursive: true });
  const temporary = join(parent, `${TEMPORARY}${process.pid}-${path.slice(parent.length + 1)}`);
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary);
  await fill(temporary);
  const files: { [name: string]: { size: number; sha256: string } } = {};
  for (const name of (await readdir(temporary, { recursive: true })).sort()) {
    const file = join(temporary, name);
    await sync(file);
    const status = await stat(file);
    if (status.isFile()) files[name] = { size: status.size, sha256: await sha256(file) };
  }
  await writeFileAtomic(join(temporary, 'manifest.json'), `${JSON.stringify({ files }, null, 1)}\n`);
  await rm(path, { recursive: true, force: true });
  await rename(temporary, path);
  await sync(parent);
}

/** Why the folder is not what writeFolderAtomic left; undefined when it is. */
export async function folderDamage(path: string): Promise<string | undefined> {
  try {
    const { files } = JSON.parse(await readFile(join(path, 'manifest.json'), 'utf8'));
    for (const [name, { size, sha256: expected }] of Object.entries<{ size: number; sha256: string }>(files)) {
      const file = join(path, name);
      const found = (await stat(file)).size;
      if (found !== size) return `${name} has ${found} bytes instead of ${size}`;
      if ((await sha256(file)) !== expected) return `${name} does not match its SHA-256`;
    }
  } catch (error) {
    return (error as Error).message;
  }
}

/** Removes what a crash left half-written. */
export async function removeTemporaries(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => []))
    if (name.startsWith(TEMPORARY)) await rm(join(folder, name), { recursive: true, force: true });
}
