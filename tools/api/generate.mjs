// Writes the reference, docs/api: a page for each theme from the doc comments of what lib/index.ts exports, the option
// tables, and the help of every command. First it writes the types of the options from their tables, and the table of
// docs/models.md from the cases that test/policy/checkpoints.test.ts tests.
//   node --import tsx tools/api/generate.mjs [--check]     --check: writes nothing, and fails when docs/api is not current
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, ReflectionKind, UnknownType } from 'typedoc';
import { helpOf } from '../../lib/cli/kit/args.ts';
import * as losses from '../../lib/kernels/loss-table.ts';
import { PRM_TRAIN_OPTIONS } from '../../lib/prm/train.ts';
import { SERVE_OPTIONS } from '../../lib/rollout/serve/server.ts';
import { TINKER_OPTIONS } from '../../lib/rollout/serve/tinker/server.ts';
import { TRAINER_OPTIONS } from '../../lib/train/options.ts';
import { SFT_OPTIONS } from '../../lib/train/sft-options.ts';
import { CHECKPOINT_CASES } from '../../test/policy/checkpoint-cases.ts';
import { lossTypes, policyLossOptions } from './loss-options.mjs';
import { optionTypes } from './option-types.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const scratch = join(root, 'build', 'api');
const pages = join(scratch, 'pages');
const docs = join(root, 'docs', 'api');

/** The page on which a module's exports stand: that of the longest of these paths of lib that leads to it. */
const THEMES = {
  kernels: ['kernels'],
  tensors: ['base/errors', 'kernels/native', 'kernels/tensor'],
  policy: ['policy'],
  training: ['train', 'tasks', 'methods'],
  data: ['tasks/data', 'hub'],
  verifiers: ['tasks/verify'],
  'process-reward-models': ['prm'],
  rollout: ['rollout'],
  evaluation: ['eval'],
};
const THEME_OF = Object.entries(THEMES)
  .flatMap(([theme, paths]) => paths.map((path) => ({ theme, path })))
  .sort((a, b) => b.path.length - a.path.length);

const themeOf = (module) => THEME_OF.find(({ path }) => module === path || module.startsWith(`${path}/`))?.theme;

const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
/** From the index that publishes a part of the package by itself to the name it is imported by. */
const SUBPATHS = Object.fromEntries(
  Object.entries(exports)
    .filter(([path]) => path !== '.' && path !== './package.json')
    .map(([path, { default: file }]) => [file.match(/dist\/lib\/(.*)\.js/)[1], path.replace('.', 'prl-node')]),
);

const problems = [];
rmSync(scratch, { recursive: true, force: true });
mkdirSync(pages, { recursive: true });
writeOptionTypes();
writeCheckpointTable();
await writeReference(writeEntries());
for (const name of readdirSync(pages)) write(name, shapesAsCode(read(pages, name)));
write('options.md', optionsPage());
write('commands.md', await commandsPage());
write('README.md', indexPage());
if (process.argv.includes('--check')) compare();
else replace();
for (const problem of problems) console.error(problem);
process.exit(problems.length ? 1 : 0);

/** The types of the options, which typedoc reads. */
function writeOptionTypes() {
  keep(join(root, 'lib', 'kernels/policy-loss-options.ts'), policyLossOptions(losses, root));
  const tables = {
    'train/trainer-options.ts': TRAINER_OPTIONS,
    'train/sft-trainer-options.ts': SFT_OPTIONS,
    'prm/train-options.ts': PRM_TRAIN_OPTIONS,
    'rollout/serve/serve-settings.ts': SERVE_OPTIONS,
    'rollout/serve/tinker/tinker-settings.ts': TINKER_OPTIONS,
  };
  for (const [file, table] of Object.entries(tables)) keep(join(root, 'lib', file), optionTypes(file, table, root));
}

/** What checkpoints may have, between two marks of docs/models.md. */
function writeCheckpointTable() {
  const page = join(root, 'docs', 'models.md');
  const rows = CHECKPOINT_CASES.map(({ has, note, code }) => {
    const loads = code ? `no: \`${code}\`` : 'yes';
    return `| ${has} | ${note ? `${loads}; ${note}` : loads} |\n`;
  });
  const parts = readFileSync(page, 'utf8').split(/(<!-- [^>]*checkpoint-cases[^>]* -->\n|<!-- end -->)/);
  if (parts.length !== 5) return problems.push('docs/models.md must have the marks of the table of checkpoints once');
  parts[2] = `\n| a checkpoint has | it loads |\n|---|---|\n${rows.join('')}\n`;
  keep(page, parts.join(''));
}

/** Writes a file that has another text, or reports it. */
function keep(path, text) {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  if (process.argv.includes('--check')) problems.push(`${relative(root, path)} is not current: npm run docs`);
  else writeFileSync(path, text);
}

/**
 * The statements of an index, and of those that it exports whole, with the module of lib that each is about, and the
 * index's subpath.
 */
function exportsOf(index) {
  const text = readFileSync(join(root, 'lib', index), 'utf8');
  const subpath = SUBPATHS[index.replace('.ts', '')];
  return [...text.matchAll(/^export ([^;]*) from '(\..*)\.js';$/gm)].flatMap(([, names, path]) => {
    const module = join(dirname(index), path);
    return basename(module) === 'index' ? exportsOf(`${module}.ts`) : [{ names, module, subpath }];
  });
}

/** What lib/index.ts exports, cut into one module for each theme. */
function writeEntries() {
  const modules = Object.fromEntries(Object.keys(THEMES).map((theme) => [theme, '']));
  for (const { names, module } of exportsOf('index.ts')) {
    const theme = themeOf(module);
    if (theme) modules[theme] += `export ${names} from '../../lib/${module}.ts';\n`;
    else problems.push(`lib/${module}.ts has exports and no theme in tools/api/generate.mjs`);
  }
  return Object.entries(modules).map(([theme, text]) => {
    const file = join(scratch, `${theme}.ts`);
    writeFileSync(file, text);
    return file;
  });
}

async function writeReference(entryPoints) {
  const compilerOptions = { allowImportingTsExtensions: true };
  const tsconfig = join(scratch, 'tsconfig.json');
  writeFileSync(tsconfig, JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'] }));
  const app = await Application.bootstrapWithPlugins({
    plugin: ['typedoc-plugin-markdown'],
    entryPoints,
    tsconfig,
    out: pages,
    name: 'prl-node',
    readme: 'none',
    router: 'module',
    entryFileName: 'README',
    skipErrorChecking: true,
    disableSources: true,
    githubPages: false,
    hideGenerator: true,
    hideBreadcrumbs: true,
    hidePageHeader: true,
    excludeInternal: true,
    excludeExternals: true,
    // As the groups stand on a page: the anchors of links are counted in this order.
    sort: ['kind', 'source-order'],
    kindSortOrder: ['Function', 'Class', 'Variable', 'Interface', 'TypeAlias'],
    groupOrder: ['Functions', 'Classes', 'Variables', 'Interfaces', 'Type Aliases'],
    parametersFormat: 'table',
    interfacePropertiesFormat: 'table',
    typeAliasPropertiesFormat: 'table',
    classPropertiesFormat: 'table',
    useCodeBlocks: true,
    expandParameters: true,
    useHTMLAnchors: true,
    anchorPrefix: 'api-',
    tableColumnSettings: { hideInherited: true, hideOverrides: true, hideModifiers: true },
    validation: { notExported: false, invalidLink: true, invalidPath: false, notDocumented: true },
    requiredToBeDocumented: ['Function', 'Class', 'Interface', 'TypeAlias', 'Variable', 'Method'],
    logLevel: 'Warn',
  });
  const project = await app.convert();
  if (!project) return problems.push('typedoc could not read the sources');
  app.validate(project);
  // Tables of options are on a page of their own.
  for (const variable of project.getReflectionsByKind(ReflectionKind.Variable))
    if (variable.name.endsWith('_OPTIONS')) variable.type = new UnknownType('OptionTable');
  await app.generateOutputs(project);
  if (app.logger.hasErrors() || app.logger.hasWarnings()) problems.push('the doc comments need work: see above');
}

/**
 * Shapes such as [T] or [0, 1] are links to Markdown, and a paragraph that begins with '[T]:' vanishes: they become
 * code. The types of option tables, spelled out, become links to the page of options.
 */
function shapesAsCode(page) {
  const plain = page.replace(/`OptionsOf`\\<\\\{.*\}\\>/g, '[options](options.md)');
  const parts = plain.split(/(^```[\s\S]*?^```|`[^`\n]*`)/m);
  const shape = /(?<![\w\])])\[((?:[A-Z0-9]|vocab|tokens|width)[\w +*.,()-]*)\](?![([])/g;
  return parts
    .map((part, i) => (i % 2 ? part.replace(/OptionsOf<\{[\s\S]*?\}>/g, 'Options') : part.replace(shape, '`[$1]`')))
    .join('');
}

function optionsPage() {
  const rows = (table) =>
    Object.entries(table).map(([name, spec]) => {
      const type = spec.choices ? spec.choices.map((choice) => `'${choice}'`).join(' \\| ') : spec.type;
      const bounds = [
        spec.above === undefined ? '' : `above ${spec.above}`,
        spec.min === undefined ? '' : `at least ${spec.min}`,
        spec.max === undefined || spec.max === 2 ** 31 - 1 ? '' : `at most ${spec.max}`,
      ].filter(Boolean);
      const shown = spec.default === undefined ? '' : `\`${JSON.stringify(spec.default)}\``;
      return `| \`${name}\` | ${[type, ...bounds].join(', ')} | ${shown} | ${spec.doc.replaceAll('|', '\\|')} |`;
    });
  const table = (title, options) => [
    `## ${title}`,
    '',
    '| option | type | default | |',
    '|---|---|---|---|',
    ...rows(options),
    '',
  ];
  return [
    '# Options',
    '',
    'On the command line the same names in kebab case: `numGenerations` is `--num-generations`. Where no default stands the',
    'description says what happens. Presets and datasets set other defaults: see `prl train --help --all` in [commands](commands.md).',
    '',
    ...table('Trainer', TRAINER_OPTIONS),
    ...table('trainQuantilePrm', PRM_TRAIN_OPTIONS),
    '## Loss types',
    '',
    'rho is the ratio of new to old probability, of a token or (`importanceSamplingLevel`) of a sequence. A is the advantage; [x] is a',
    'constant to the gradient. Active tokens and sequences are those of the whole optimizer batch (`normalizer`).',
    '',
    ...lossTypes(losses),
    '',
  ].join('\n');
}

async function commandsPage() {
  const main = join(root, 'lib', 'cli', 'main.ts');
  const overview = spawnSync(process.execPath, ['--import', 'tsx', main, '--help'], { encoding: 'utf8' });
  if (overview.status !== 0) problems.push(`prl --help ended with ${overview.status}: ${overview.stderr}`);
  const commands = [...readFileSync(main, 'utf8').matchAll(/import\('(\.\/[\w/-]+)\.js'\)\)\.(\w+Command)/g)];
  if (commands.length < 10) problems.push(`only ${commands.length} commands were found in lib/cli/main.ts`);
  const helps = commands.map(async ([, module, name]) => {
    const command = (await import(`../../lib/cli/${module}.ts`))[name];
    return [`## prl ${command.name}`, '', '```', helpOf(command, { all: true }), '```', ''];
  });
  return [
    '# Commands',
    '',
    '`npx prl COMMAND` where the package is installed, `npm run prl -- COMMAND` in a checkout.',
    '',
    '```',
    overview.stdout.trimEnd(),
    '```',
    '',
    ...(await Promise.all(helps)).flat(),
  ].join('\n');
}

function indexPage() {
  const themes = Object.keys(THEMES).map((theme) => {
    const names = [...read(pages, `${theme}.md`).matchAll(/^### (\w+|\w+(?:\\_\w+)+)(?:\(\))?$/gm)].map(
      ([, name]) => name,
    );
    const shown = names.filter((name) => !/(Options|Args|Setup|Like)$/.test(name)).join(', ');
    return `| [${theme}](${theme}.md) | ${shown} | ${subpathsOf(theme)} |`;
  });
  return [
    '# API reference',
    '',
    'Made from the doc comments by `npm run docs`; do not edit. `prl-node` exports everything. The last column names the smaller',
    'entries that export the same code and load less.',
    '',
    '| | | also from |',
    '|---|---|---|',
    ...themes,
    '| [options](options.md) | of the Trainer and of trainQuantilePrm, with types, bounds and defaults | |',
    '| [commands](commands.md) | the help of every command | |',
    '',
  ].join('\n');
}

/** The subpath that a theme is exported by; where that holds for a part of it, with the names. */
function subpathsOf(theme) {
  const statements = exportsOf('index.ts').filter(({ module }) => themeOf(module) === theme);
  const [first] = statements.filter(({ subpath }) => subpath);
  if (!first) return '';
  if (statements.every(({ subpath }) => subpath)) return `\`${first.subpath}\``;
  const names = [...first.names.matchAll(/(?<!type )\b(?!type\b)\w+/g)].map(([name]) => `\`${name}\``);
  return `${names.join(', ')}: \`${first.subpath}\``;
}

function compare() {
  const [made, kept] = [readdirSync(pages), readdirSync(docs)];
  const stale = made.filter((name) => !kept.includes(name) || read(pages, name) !== read(docs, name));
  const left = kept.filter((name) => !made.includes(name));
  if (stale.length || left.length)
    problems.push(`docs/api is not current (${[...stale, ...left].join(', ')}): npm run docs`);
}

function replace() {
  rmSync(docs, { recursive: true, force: true });
  mkdirSync(docs, { recursive: true });
  for (const name of readdirSync(pages)) writeFileSync(join(docs, name), read(pages, name));
}

function write(name, text) {
  writeFileSync(join(pages, name), text);
}

function read(folder, name) {
  return readFileSync(join(folder, name), 'utf8');
}
