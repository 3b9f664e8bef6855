// The format of native/ and test/emulator: .clang-format says what it is, and a line has at most 120 columns.
//
//   node scripts/check-format-native.mjs [--write]
//
// Runs clang-format of one major version, since others format the same file in other ways: from CLANG_FORMAT or the
// PATH (also as clang-format-14). Without it the format is not checked, and it says so; the columns are.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAJOR = 14;
const COLUMNS = 120;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const write = process.argv[2] === '--write';
const files = ['native', 'test/emulator'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((file) => /\.(h|cc|cu|cuh)$/.test(file))
    .map((file) => `${folder}/${file}`),
);

const problems = [];
const start = (program, ...args) => spawnSync(program, args, { cwd: root, encoding: 'utf8' });
const versionOf = (program) => start(program, '--version').stdout?.match(/version (\d+)[\d.]*/);
const programs = [process.env.CLANG_FORMAT, 'clang-format', `clang-format-${MAJOR}`].filter(Boolean);
const program = programs.find((each) => Number(versionOf(each)?.[1]) === MAJOR);
if (program) {
  const { stderr, status } = start(program, ...(write ? ['-i'] : ['--dry-run', '-Werror']), ...files);
  if (status !== 0) problems.push(stderr, 'node scripts/check-format-native.mjs --write formats them');
} else {
  const other = programs.map(versionOf).find(Boolean);
  const found = other ? `this machine has ${other[0]}` : 'this machine has none';
  console.log(`The format of native/ was not checked: it needs clang-format ${MAJOR}, ${found}`);
}
for (const file of files) {
  const lines = readFileSync(join(root, file), 'utf8').split('\n');
  for (const [i, line] of lines.entries())
    if (line.length > COLUMNS) problems.push(`${file}:${i + 1}: ${line.length} columns`);
}
for (const problem of problems) console.error(problem);
process.exit(problems.length ? 1 : 0);
