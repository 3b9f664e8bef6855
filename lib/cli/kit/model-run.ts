// The prompts and answers that a model learned in its run. A command that uses the model takes them from there.
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { isObject } from '../../base/json.js';
import { type OptionsOf, resolveOptions } from '../../base/options.js';
import { shorten } from '../../base/text.js';
import { readJsonFile } from '../../train/run-folder.js';
import { kebab, part } from './args.js';
import { DATASET_OPTIONS } from './dataset.js';

const { promptTemplate, systemPrompt, verifier, extraction } = DATASET_OPTIONS;
const PROMPT = { promptTemplate, systemPrompt };
const JUDGE = { verifier, extraction };

type PromptChoice = OptionsOf<typeof PROMPT>;
type JudgeChoice = OptionsOf<typeof JUDGE>;

interface ModelRun {
  path: string;
  /** How its prompts were framed. Absent: as they stand, or in the conversations of the demonstrations. */
  prompt?: PromptChoice;
  /** How its responses were judged. Absent in a run of prl sft. */
  judge?: JudgeChoice;
}

/** The run that made a model: `model` is its folder, its base or one of its checkpoints. undefined: no such run. */
export async function runOfModel(model: string): Promise<ModelRun | undefined> {
  const path = resolve(model);
  const inside = basename(path) === 'base' ? dirname(path) : dirname(dirname(path));
  const places = basename(path) === 'base' || basename(dirname(path)) === 'checkpoints' ? [path, inside] : [path];
  for (const place of places) {
    if (!existsSync(join(place, 'config.json'))) continue;
    const { command, trainer, sft } = await readJsonFile(join(place, 'config.json'));
    if (!isObject(command)) continue; // the config of a model
    const chosen = resolveOptions(
      join(place, 'config.json'),
      { ...PROMPT, ...JUDGE },
      {
        ...part(command, PROMPT),
        ...part(command, JUDGE),
      },
    );
    const run = { path: relative('', place) || '.' };
    if (sft) return chosen.promptTemplate === undefined ? run : { ...run, prompt: part(chosen, PROMPT) };
    if (!('dataset' in command)) return run;
    // What 'auto' came to.
    const auto = /"chat":true/.test(String(trainer?.prompt)) ? 'prl' : 'question';
    return { ...run, prompt: { promptTemplate: auto, ...part(chosen, PROMPT) }, judge: part(chosen, JUDGE) };
  }
  return undefined;
}

/**
 * The options, with those of the model's run where none are given: how prompts are framed, how responses are judged.
 * `say` gets what was taken, and a warning where the given template is another than that of the run.
 */
export async function withOptionsOfRun<T extends PromptChoice & JudgeChoice>(
  model: string,
  options: T,
  say: (message: string) => void,
  { judged = true }: { /** Whether responses will be judged. */ judged?: boolean } = {},
): Promise<T> {
  const run = await runOfModel(model);
  if (!run) return options;
  const isGiven = (...values: unknown[]) => values.some((value) => value !== undefined);
  const taken = {
    ...(!isGiven(options.promptTemplate, options.systemPrompt) && run.prompt),
    ...(judged && !isGiven(options.verifier, options.extraction) && run.judge),
  };
  const known = run.prompt?.promptTemplate;
  const given = options.promptTemplate;
  if (known !== undefined && given !== undefined && given !== 'auto' && given !== known)
    say(`the model of ${run.path} learned prompts with promptTemplate ${shown(known)}, not ${shown(given)}`);
  const texts = Object.entries(taken).map(([name, value]) => `--${kebab(name)} ${shown(value)}`);
  if (texts.length > 0) say(`as in ${run.path}: ${texts.join(', ')}`);
  return { ...options, ...taken };
}

const shown = (value: string) => (/^[\w-]+$/.test(value) ? value : shorten(JSON.stringify(value)));
