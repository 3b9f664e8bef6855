// The types of options that are written from their tables, so that an editor shows what each option is for.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** The module of an interface: one documented property for each option of the table, which `from` holds. */
export function optionsModule({ name, doc, from, table, paragraphs = sentencesOf }, root) {
  const properties = Object.entries(table).map(
    ([option, spec]) => `${comment(paragraphs(option, spec))}\n${option}?: ${typeOf(spec)} | undefined;`,
  );
  const text = `// Made from ${from} by \`npm run docs\`; do not edit.

${comment([doc])}
export interface ${name} {
${properties.join('\n')}
}
`;
  const biome = join(root, 'node_modules', '.bin', 'biome');
  const run = spawnSync(biome, ['format', '--stdin-file-path=options.ts'], {
    cwd: root,
    input: text,
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(`biome: ${run.stderr}`);
  return run.stdout;
}

/** Of each interface, by its file in lib: its name, the file of its table, and its comment. */
const INTERFACES = {
  'train/trainer-options.ts': ['TrainerOptions', 'options.ts', 'Options of the Trainer, besides its setup.'],
  'train/sft-trainer-options.ts': ['SftOptions', 'sft-options.ts', 'Options of SftTrainer, besides its setup.'],
  'prm/train-options.ts': ['PrmTrainOptions', 'train.ts', 'Values of `options` for {@link trainQuantilePrm}.'],
  'rollout/serve/serve-settings.ts': ['ServeSettings', 'server.ts', 'Options of `prl serve`, in camelCase.'],
  'rollout/serve/tinker/tinker-settings.ts': [
    'TinkerServeSettings',
    'server.ts',
    'Options of `prl serve --tinker`, in camelCase.',
  ],
};

/** The module of the interface that stands in this file of lib. */
export function optionTypes(file, table, root) {
  const [name, from, doc] = INTERFACES[file];
  return optionsModule({ name, from, doc, table }, root);
}

/** One paragraph about an option: what it does, its default, its bounds and the rest. */
export function sentencesOf(_, spec, line = spec.doc) {
  const bounds = [
    spec.above !== undefined && `above ${spec.above}`,
    spec.min !== undefined && `at least ${spec.min}`,
    spec.max !== undefined && spec.max !== 2 ** 31 - 1 && `at most ${spec.max}`,
  ].filter(Boolean);
  const sentences = [
    `${line}.`,
    spec.default !== undefined && `Default ${JSON.stringify(spec.default).replaceAll('"', "'")}.`,
    bounds.length && `${bounds.join(', ').replace(/^./, (first) => first.toUpperCase())}.`,
    spec.details,
  ];
  return [sentences.filter(Boolean).join(' ')];
}

const TYPES = { integer: 'number', integers: 'readonly number[]', numbers: 'readonly number[]' };
TYPES.strings = TYPES.files = 'readonly string[]';

function typeOf(spec) {
  if (spec.choices) return spec.choices.map((choice) => `'${choice}'`).join(' | ');
  if (!spec.fields) return TYPES[spec.type] ?? spec.type;
  return `{\n${Object.entries(spec.fields)
    .map(([name, doc]) => `/** ${doc}. */\n${name}: number;`)
    .join('\n')}\n}`;
}

/** A doc comment of lines that end by column 120. */
function comment(texts) {
  const lines = texts.flatMap((text, i) => [...(i ? [''] : []), ...text.match(/\S.{0,113}(?=\s|$)/g)]);
  if (lines.length === 1 && lines[0].length <= 111) return `/** ${lines[0]} */`;
  return ['/**', ...lines.map((line) => ` * ${line}`.trimEnd()), ' */'].join('\n');
}
