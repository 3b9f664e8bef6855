// What to do with a finished run, as commands to copy.
import { kebab } from '../kit/args.js';

/** What differs between kinds of run. */
export interface NextSteps {
  /** Options of prl eval that measure the policy as the run did; undefined if it has no problems for that. */
  evaluation?: { [option: string]: string | number | readonly string[] | undefined };
  /** Options of prl train for reinforcement learning from here; undefined if the run was that. */
  training?: { [option: string]: string | undefined };
  /** A prompt to try. Absent if the weights are on a server, where these commands cannot read them. */
  prompt?: string | undefined;
}

export function nextSteps(
  run: string,
  { steps, next: { evaluation, training, prompt } }: { steps: number; next: NextSteps },
) {
  // A run without steps has no checkpoint.
  const model = `--model ${quoted(steps > 0 ? run : `${run}/base`)}`;
  const commands: [command: string, meaning: string][] = [
    [`report ${quoted(run)}`, 'an HTML page: curves, responses, credit of each step'],
    ...(evaluation ? [[`eval ${model}${optionsText(evaluation)}`, 'measure it on held-out problems'] as const] : []),
    ...(training ? [[`train ${model}${optionsText(training)}`, 'reinforcement learning from here'] as const] : []),
    ...(prompt === undefined
      ? []
      : ([
          [`generate ${model} --prompt ${quoted(prompt)}`, 'read a response'],
          [`serve ${model}`, 'answer requests over HTTP'],
        ] as const)),
  ].map(([command, meaning]) => [`npx prl ${command}`, meaning]);
  const width = Math.min(72, Math.max(...commands.map(([command]) => command.length)));
  return ['Next:', ...commands.map(([command, meaning]) => `  ${command.padEnd(width)}  # ${meaning}`)].join('\n');
}

/** A list is an option for each of its values. */
const optionsText = (options: NonNullable<NextSteps['evaluation']>) =>
  Object.entries(options)
    .flatMap(([name, value]) => [value ?? []].flat().map((each) => ` --${kebab(name)} ${quoted(String(each))}`))
    .join('');

/** A word as a shell reads it. */
const quoted = (word: string) => (/^[\w./:@=+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
