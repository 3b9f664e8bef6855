// The documentation must hold: its TypeScript compiles against lib, its commands have the options it names, its links
// resolve. `npm run check` checks docs/api, which is generated from the doc comments.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as lib from '../lib/index.js';
import { packageRoot } from '../lib/kernels/native.js';

const files = (folder: string) =>
  readdirSync(join(packageRoot, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name));
const written = ['README.md', 'CONTRIBUTING.md', ...files('docs')];
const read = (file: string) => readFileSync(join(packageRoot, file), 'utf8');

/** Names that a page explains in its text. Not a file of its own: it would declare them for the whole project. */
const GIVEN = `import type { ArithmeticTask, Policy, PolicyConfig, Tensor, Tokenizer, Trainer } from 'prl-node';

declare global {
  const policy: Policy;
  const task: ArithmeticTask;
  const tokenizer: Tokenizer;
  const trainer: Trainer;
  const model: string;
  const url: string;
  const config: PolicyConfig;
  const tokens: number;
  const vocab: number;
  const values: Float32Array;
  const logits: Tensor;
  const hidden: Tensor;
  const head: Tensor;
  const targets: Int32Array;
  const advantages: Tensor;
  const oldLogProbs: Float32Array;
  const refLogProbs: Float32Array;
  const cuSeqlens: Int32Array;
}
`;

/** The blocks of code of a page in one of the languages, with the line that each begins at. */
function blocks(page: string, languages: readonly string[]): { line: number; code: string }[] {
  return [...page.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)]
    .filter(([, language]) => languages.includes(language))
    .map((match) => ({ line: page.slice(0, match.index).split('\n').length + 1, code: match[2] }));
}

test('the TypeScript of the documentation compiles', () => {
  const folder = join(packageRoot, 'build', 'docs-code');
  rmSync(folder, { recursive: true, force: true });
  // Code that users write compiles with the strictest options, against the declarations; files of lib against lib.
  const unused = { noUnusedLocals: false, noUnusedParameters: false };
  const paths = Object.fromEntries(
    Object.entries({ '': 'index', '/kernels': 'kernels/index', '/verify': 'tasks/verify/index' }).map(
      ([part, file]) => [`prl-node${part}`, [`../../../dist/lib/${file}.d.ts`]],
    ),
  );
  const strictest = { exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, isolatedModules: true, paths };
  const folders = { users: { ...unused, ...strictest }, ours: unused };
  for (const [name, compilerOptions] of Object.entries(folders)) {
    const config = { extends: '../../../tsconfig.json', compilerOptions, include: ['*.ts'] };
    mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, name, 'tsconfig.json'), JSON.stringify(config));
    writeFileSync(join(folder, name, 'given.d.ts'), GIVEN);
  }
  const exported = [
    ...new Set(files('docs/api').flatMap((file) => [...read(file).matchAll(/^### (\w+)/gm)].map(([, name]) => name))),
  ];
  let count = 0;
  for (const file of written)
    for (const { line, code } of blocks(read(file), ['ts'])) {
      // Short pieces leave their imports out.
      const imported = [...code.matchAll(/^import [^;]*;/gm)].join('');
      const uses = (name: string) => new RegExp(`\\b${name}[.(]|: ${name}\\b`).test(code);
      const names = exported.filter((name) => uses(name) && !imported.includes(name));
      const list = names.map((name) => (name in lib ? name : `type ${name}`)).join(', ');
      // A block that begins with "// lib/FILE" is a file of the tree: its imports start from there.
      const place = /^\/\/ (lib\/[\w/-]+)\/[\w-]+\.ts$/m.exec(code)?.[1];
      const placed = place ? code.replaceAll("from './", `from '../../../${place}/`) : code;
      const text = `import { ${list} } from 'prl-node';\n${placed}\nexport {};\n`;
      const name = `${file.replaceAll('/', '-').replace('.md', '')}-line-${line}.ts`;
      writeFileSync(join(folder, place ? 'ours' : 'users', name), text);
      count++;
    }
  assert.ok(count >= 15, `only ${count} blocks of TypeScript were found`);
  for (const name of Object.keys(folders)) {
    const project = ['-p', join(folder, name)];
    const tsc = spawnSync(join(packageRoot, 'node_modules', '.bin', 'tsc'), project, { encoding: 'utf8' });
    assert.is(tsc.status, 0, tsc.stdout + tsc.stderr);
  }
});

test('the commands of the documentation exist, with their options', () => {
  const help = new Map(
    [...read('docs/api/commands.md').matchAll(/^## prl (.*)\n\n```\n([\s\S]*?)^```/gm)].map(([, name, text]) => [
      name,
      new Set([...text.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, option]) => option)),
    ]),
  );
  assert.ok(help.size >= 10, `only ${help.size} commands were found`);
  const { scripts } = JSON.parse(read('package.json'));
  let count = 0;
  for (const file of written)
    for (const { line, code } of blocks(read(file), ['sh']))
      for (const command of code.replaceAll('\\\n', ' ').split(/\n|&&|;/)) {
        const at = `${file}, block at line ${line}: ${command.trim()}`;
        const script = /^\s*(?:\w+=\S+ )*npm (?:run )?([\w:]+)/.exec(command)?.[1];
        if (script && !['ci', 'install', 'run', 'pack', 'rebuild'].includes(script))
          assert.ok(scripts[script], `${at}: no such script`);
        const words = /^\s*(?:\w+=\S+ )*(?:npx prl|npm run prl --|prl) ((?:prm )?\w+)(.*)/.exec(
          command.replace(/ #.*/, ''),
        );
        if (!words) continue;
        const options = help.get(words[1]);
        assert.ok(options, `${at}: no such command`);
        for (const [, option] of words[2].matchAll(/(?<=\s)(--[a-z][a-z-]*)/g))
          assert.ok(options!.has(option) || options!.has(option.replace('--no-', '--')), `${at}: no option ${option}`);
        count++;
      }
  assert.ok(count >= 15, `only ${count} commands were found`);
});

/** GitHub's anchors of a page's headings. */
function anchorsOf(page: string): Set<string> {
  const found = new Map<string, number>();
  const anchors = [...page.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.*)$/gm)].map(([, heading]) => {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('\\', '');
    const slug = text
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    const again = found.get(slug) ?? 0;
    found.set(slug, again + 1);
    return again ? `${slug}-${again}` : slug;
  });
  return new Set([...anchors, ...[...page.matchAll(/<a id="([^"]+)"/g)].map(([, id]) => id)]);
}

test('the links of the documentation lead somewhere', () => {
  let count = 0;
  for (const file of [...written, ...files('docs/api')]) {
    const page = read(file);
    for (const [, target] of page.replace(/^```[\s\S]*?^```/gm, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path, anchor] = target.split('#');
      const full = path === '' ? join(packageRoot, file) : resolve(packageRoot, dirname(file), path);
      assert.ok(existsSync(full), `${file} links to ${target}, which is not there`);
      if (anchor && full.endsWith('.md'))
        assert.ok(anchorsOf(readFileSync(full, 'utf8')).has(anchor), `${file} links to ${target}: no such heading`);
      count++;
    }
  }
  assert.ok(count >= 100, `only ${count} links were found`);
});
test.run();
