// Messages of the library name options as in code. The command line spells them as its flags.
import type { OptionTable } from '../../base/options.js';
import { kebab } from './args.js';

/** What the library calls otherwise. */
const OTHERS = { processRewardModel: 'prm' };

let flags = new Map<string, string>();
let table: OptionTable = {};

/** Sets the options of the running command. */
export function spellOptions(options: OptionTable): void {
  table = options;
  flags = new Map(Object.keys(options).map((name) => [name, `--${kebab(name)}`]));
  for (const [name, own] of Object.entries(OTHERS)) if (flags.has(own)) flags.set(name, `--${own}`);
}

/**
 * The message with options as flags: numMinibatches becomes --num-minibatches, and onInvalid 'drop' becomes
 * --on-invalid drop. One small word is an option if one of its choices follows it, or if the message is about it.
 */
export const spelled = (message: string): string =>
  message.replace(
    /(?<![^\s(:;,])'?([a-z]+[A-Za-z]*\d?)'?(?= '|[\s,.:;)[]|$)(?: '([\w+.-]+)')?/g,
    (text, name: string, value: string | undefined, at: number) => {
      const flag = flags.get(name);
      const quoted = text.startsWith("'");
      const isName =
        /[A-Z]/.test(name) || (!quoted && isChoice(name, value)) || (at === 0 && !quoted && isSubject(message, text));
      if (flag === undefined || !isName) return text;
      return value === undefined ? flag : `${flag} ${value}`;
    },
  );

function isChoice(name: string, value: string | undefined): boolean {
  const spec = Object.hasOwn(table, name) ? table[name] : undefined;
  return spec?.type === 'choice' && spec.choices.includes(value ?? '');
}

/** "beta must be ...", "delta has no meaning ..." */
const isSubject = (message: string, name: string): boolean =>
  /^ (must|needs|has no meaning|cannot|belongs)\b/.test(message.slice(name.length));
