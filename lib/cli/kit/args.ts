import { parseArgs } from 'node:util';
import { closest } from 'fastest-levenshtein';
import { invalidArgument, unknownOption } from '../../base/errors.js';
import { checkOption, type OptionSpec, type OptionTable } from '../../base/options.js';

export type Values = { [name: string]: unknown };

export interface Command {
  name: string;
  summary: string;
  /** Options in groups, for the help. */
  groups: { title: string; options: OptionTable }[];
  /** The options that the help shows without --all, the most common first. Default: all of them. */
  common?: readonly string[];
  /** Arguments without an option name. `run` gets them as a list of strings under `name`. Default: none are allowed. */
  operands?: { name: string; usage: string; required?: boolean };
  /** Required options. */
  required?: readonly string[];
  examples: readonly [command: string, meaning: string][];
  /** More paragraphs of the help. */
  notes?: string;
  run(values: Values): Promise<number>;
}

export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

export const commandOptions = ({ groups }: Command): OptionTable =>
  Object.assign({}, ...groups.map(({ options }) => options));

/** The values of the options of one table. */
export const part = (values: Values, table: OptionTable): Values =>
  Object.fromEntries(Object.entries(values).filter(([name]) => Object.hasOwn(table, name)));

/** The same of values in a file: JSON writes Infinity, which means "no bound", as null. */
export const savedPart = (values: Values, table: OptionTable): Values =>
  Object.fromEntries(Object.entries(part(values, table)).map(([name, value]) => [name, value ?? Infinity]));

/** The first of these options that is set, as written on the command line; undefined if none is. */
export function firstGiven(values: object): string | undefined {
  const given = Object.entries(values).find(([, value]) => value !== undefined);
  return given && `--${kebab(given[0])}`;
}

/** Parses the command line by the command's tables of options. The command adds the defaults. */
export function parseOptions(command: Command, argv: string[]): Values {
  const table = commandOptions(command);
  const names = new Map(Object.keys(table).map((name) => [kebab(name), name]));
  const isSwitch = (option: string) => table[names.get(option) ?? '']?.type === 'boolean';
  const { tokens } = parseArgs({
    args: argv,
    strict: false,
    tokens: true,
    options: Object.fromEntries(
      [...names].map(([option]) => [option, { type: isSwitch(option) ? ('boolean' as const) : ('string' as const) }]),
    ),
  });
  const values: Values = {};
  const operands: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (command.operands) {
        operands.push(token.value);
        continue;
      }
      throw invalidArgument(
        `prl ${command.name} takes options only, not '${token.value}'. Did you mean '--${nearest(token.value, names)}'?`,
      );
    }
    if (token.kind !== 'option') continue;
    const negated = token.name.startsWith('no-') && isSwitch(token.name.slice(3));
    const option = negated ? token.name.slice(3) : token.name;
    const name = names.get(option);
    if (name === undefined || !token.rawName.startsWith('--')) {
      throw unknownOption(
        `prl ${command.name} has no option '${token.rawName}'. Did you mean '--${nearest(token.name, names)}'?`,
      );
    }
    const value = convert(token.rawName, table[name], negated ? 'false' : token.value);
    values[name] =
      table[name].type === 'files' ? [...((values[name] as string[]) ?? []), ...(value as string[])] : value;
  }
  if (command.operands) {
    const { name, usage, required } = command.operands;
    if (required && operands.length === 0) throw invalidArgument(`prl ${command.name} needs ${usage}`);
    values[name] = operands;
  }
  for (const name of command.required ?? [])
    if (values[name] === undefined) throw invalidArgument(`prl ${command.name} needs --${kebab(name)}`);
  return values;
}

const nearest = (name: string, names: Map<string, string>) => closest(name, [...names.keys()]);

function convert(option: string, spec: OptionSpec, text: string | undefined): unknown {
  if (spec.type === 'boolean') {
    if (text !== undefined && text !== 'true' && text !== 'false') throw invalidArgument(`${option} takes no value`);
    return text !== 'false';
  }
  if (text === undefined) throw invalidArgument(`${option} needs a value`);
  return checkOption(option, spec, fromText(option, spec, text));
}

/** Parses an option from text, such as METHOD.option=value. Errors quote the text as `shown`. */
export function optionFromText(
  table: OptionTable,
  option: string,
  text: string,
  shown: string,
): [name: string, value: unknown] {
  const names = new Map(Object.keys(table).map((name) => [kebab(name), name]));
  const name = names.get(option);
  if (name === undefined)
    throw unknownOption(`'${shown}': there is no option '${option}'. Did you mean '${nearest(option, names)}'?`);
  return [name, convert(`'${shown}':`, table[name], text)];
}

function fromText(option: string, spec: OptionSpec, text: string): unknown {
  switch (spec.type) {
    case 'number':
    case 'integer':
      return number(option, text);
    case 'integers':
    case 'numbers':
      return text.split(',').map((item) => number(option, item));
    case 'strings':
      // Shells pass \n and \t between quotes as they are typed.
      return text.split(',').map((item) => item.replaceAll('\\n', '\n').replaceAll('\\t', '\t'));
    case 'files':
      return [text];
    default:
      return text;
  }
}

function number(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw invalidArgument(`${option} must be a number, not '${text}'`);
  return value;
}

function valueName(spec: OptionSpec): string {
  switch (spec.type) {
    case 'boolean':
      return '';
    case 'choice':
      return ` ${spec.choices.join('|')}`;
    case 'integers':
      return ' N,N,...';
    case 'numbers':
      return ' X,X,...';
    case 'strings':
      return ' TEXT,TEXT,...';
    case 'files':
      return ' FILE';
    default:
      return ` ${spec.type === 'string' ? 'TEXT' : spec.type === 'integer' ? 'N' : 'X'}`;
  }
}

/** The help text of a command, made from its tables of options: the common options, or with `all` every one. */
export function helpOf(command: Command, { all = false } = {}): string {
  const table = commandOptions(command);
  const common = all ? undefined : command.common;
  const options = Object.fromEntries((common ?? []).map((name) => [name, table[name]]));
  const groups = common ? [{ title: 'Common options', options }] : command.groups;
  const lines = [
    command.summary,
    '',
    `  prl ${[command.name, command.operands?.usage].filter(Boolean).join(' ')} [options]`,
  ];
  for (const { title, options } of groups) {
    lines.push('', `${title}:`);
    const rows = Object.entries(options).map(([name, spec]) => {
      const value = spec.default !== undefined && spec.default !== false ? ` [${spec.default}]` : '';
      const off = spec.type === 'boolean' && spec.default ? '[no-]' : '';
      return [
        `  --${off}${kebab(name)}${valueName(spec)}`,
        spec.doc + (command.required?.includes(name) ? ' (required)' : value),
      ];
    });
    const width = Math.min(40, Math.max(...rows.map(([left]) => left.length)) + 2);
    for (const [left, right] of rows)
      lines.push(left.length < width ? left.padEnd(width) + right : `${left}\n${' '.repeat(width)}${right}`);
  }
  if (common) lines.push('', `All ${Object.keys(table).length} options: prl ${command.name} --help --all`);
  else if (command.notes) lines.push('', command.notes);
  lines.push('', 'Examples:');
  for (const [example, meaning] of command.examples) lines.push(`  ${example}`, `      ${meaning}`);
  return lines.join('\n');
}
