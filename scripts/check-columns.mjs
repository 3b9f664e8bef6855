// Comments of TypeScript and JavaScript, and prose of Markdown, have at most 120 columns. (Biome sees to the code, and
// clang-format to native/.) A line that is one long word, such as a link, may be longer; so may tables, code blocks and
// indented commands.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const COLUMNS = 120;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { stdout } = spawnSync('git', ['ls-files', '*.ts', '*.mjs', '*.md'], { cwd: root, encoding: 'utf8' });
const files = (stdout ?? '').split('\n').filter((file) => file && !/^docs\/(api|results)\/|^vendor\//.test(file));

const isProse = (line) => /\S\s+\S/.test(line) && !/^\s*(\||!\[|<)/.test(line);
const problems = [];
for (const file of files.filter((each) => existsSync(join(root, each)))) {
  let text = readFileSync(join(root, file), 'utf8');
  if (file.endsWith('.md')) text = text.replaceAll(/^```[\s\S]*?^```/gm, (block) => block.replaceAll(/.+/g, ''));
  const counts = file.endsWith('.md') ? isProse : (line) => /^\s*(\/\/|\/\*\*|\*) \S.* /.test(line);
  for (const [i, line] of text.split('\n').entries())
    if (line.length > COLUMNS && counts(line)) problems.push(`${file}:${i + 1}: ${line.length} columns`);
}
for (const problem of problems) console.error(problem);
process.exit(problems.length ? 1 : 0);
