// Checks the rooms of lib/, highest first: an import may lead to its own room or to a lower one, never up, and never in
// a circle. Checks the rooms of native/ and their #include "..." likewise. Prints each import that does otherwise.
// CONTRIBUTING.md says which room holds what.
//   node scripts/check-layout.mjs [FOLDER]
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOMS = [
  'index.ts',
  'cli',
  'train',
  'eval',
  'prm',
  'rollout',
  'tasks',
  'methods',
  'policy',
  'hub',
  'kernels',
  'base',
];
const NATIVE_ROOMS = ['binding', 'model', 'kernels', 'runtime'];
/**
 * Files outside the rooms that may be imported: those that publish a room as a subpath, and the benchmarks that the CLI
 * runs.
 */
const OUTSIDE = ['../bench/run.ts'];

const top = resolve(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), '..'));
const root = join(top, 'lib');
const files = readdirSync(root, { recursive: true }).filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));

/** The files that one file imports, in any form: from, import(), and the modules that run in threads. */
function importsOf(file) {
  const text = readFileSync(join(root, file), 'utf8').replaceAll(/^\s*(\*|\/\/|\/\*).*$/gm, '');
  const names = [...text.matchAll(/(?:\bfrom |\bimport\(|\bimport |\bnew URL\()'(\.{1,2}\/[^']*)'/g)];
  return names.map(([, name]) => {
    const path = normalize(join(dirname(file), name)).replace(/\.js$/, '.ts');
    return path.endsWith('.ts') ? path : `${path}.ts`;
  });
}

const roomOf = (file) => file.split('/')[0];
const problems = [];
const graph = new Map();
for (const file of files) {
  const from = ROOMS.indexOf(roomOf(file));
  if (from < 0) problems.push(`lib/${file} is in no room: lib/ has ${ROOMS.join(', ')}`);
  const inside = [];
  for (const target of importsOf(file)) {
    if (OUTSIDE.includes(target)) continue;
    if (!existsSync(join(root, target)) && !existsSync(join(root, target.replace(/\.ts$/, '.d.ts'))))
      problems.push(`lib/${file} imports lib/${target}, which does not exist`);
    else if (ROOMS.indexOf(roomOf(target)) < from)
      problems.push(`lib/${file} imports lib/${target}: ${roomOf(target)} is above ${roomOf(file)}`);
    else inside.push(target);
  }
  graph.set(file, inside);
}

/** Finds circles by a walk. A file that is reached again before the walk leaves it is part of a circle. */
const state = new Map();
const way = [];
function walk(file) {
  if (state.get(file) === 'done') return;
  if (state.get(file) === 'open') {
    const circle = [...way.slice(way.indexOf(file)), file];
    problems.push(`imports in a circle: ${circle.map((each) => `lib/${each}`).join(' -> ')}`);
    return;
  }
  state.set(file, 'open');
  way.push(file);
  for (const target of graph.get(file) ?? []) walk(target);
  way.pop();
  state.set(file, 'done');
}
for (const file of files) walk(file);

const native = join(top, 'native');
const sources = existsSync(native)
  ? readdirSync(native, { recursive: true }).filter((path) => /\.(h|cc|cu)$/.test(path))
  : [];
for (const file of sources) {
  const from = NATIVE_ROOMS.indexOf(roomOf(file));
  if (from < 0) problems.push(`native/${file} is in no room: native/ has ${NATIVE_ROOMS.join(', ')}`);
  for (const [, name] of readFileSync(join(native, file), 'utf8').matchAll(/^\s*#\s*include\s*"([^"]+)"/gm)) {
    if (!existsSync(join(native, name))) problems.push(`native/${file} includes "${name}", which is not in native/`);
    else if (NATIVE_ROOMS.indexOf(roomOf(name)) < from)
      problems.push(`native/${file} includes "${name}": ${roomOf(name)} is above ${roomOf(file)}`);
  }
}

for (const problem of problems) console.error(problem);
if (files.length === 0) problems.push(console.error(`no files in ${relative('.', root)}`));
process.exit(problems.length ? 1 : 0);
