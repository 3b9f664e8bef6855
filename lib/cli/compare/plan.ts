import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { closest } from 'fastest-levenshtein';
import { writeFileAtomic } from '../../base/atomic.js';
import { invalidArgument, outOfRange, PrlError } from '../../base/errors.js';
import type { Shape } from '../../base/json.js';
import { checkChoice, isCount, type OptionTable, resolveOptions } from '../../base/options.js';
import { quoted } from '../../base/text.js';
import { methodNeeds } from '../../methods/index.js';
import type { LoadOptions } from '../../policy/types.js';
import { type ResolvedTrainerOptions, TRAINER_OPTIONS, type TrainerOptions } from '../../train/options.js';
import { readJsonFile } from '../../train/run-folder.js';
import { firstGiven, optionFromText, part, type Values } from '../kit/args.js';
import { DATASET_OPTIONS, type DatasetRunOptions } from '../kit/dataset.js';
import type { Interrupt } from '../kit/interrupt.js';
import { LOAD_OPTIONS } from '../kit/model-folder.js';
import { PRESETS, type Preset, type PresetName } from '../kit/presets.js';
import { DATASET_DEFAULTS } from '../train/dataset.js';

/** The request for a comparison, as config.json keeps it. */
export interface CompareRequest {
  preset: PresetName;
  /** Arms, separated by commas: a method, or NAME=METHOD for one more arm of a method. */
  methods: string;
  seeds: number;
  firstSeed: number;
  /** ARM.option=value */
  settings: string[];
  /** Trainer options of all arms. */
  trainer: TrainerOptions;
  /** Policy to start from, instead of a warm start per seed. */
  model?: string;
  /** Problems to train `model` on, instead of the preset's arithmetic. */
  data?: ComparedData;
  /** A process reward model for all, instead of one per seed. */
  prm?: string;
  prmProblems: number;
  /** Folder of warm starts and process reward models, which other comparisons can share. */
  cache?: string;
}

/** A dataset, with the options that say how to read it and how to load the model. */
export type ComparedData = DatasetRunOptions & LoadOptions;
/** Options of prl compare that belong to `data`. */
export const DATA_OPTIONS = { ...DATASET_OPTIONS, ...LOAD_OPTIONS } as const satisfies OptionTable;

const REQUEST: Shape = {
  ...{ preset: 'text', methods: 'text', seeds: 'number', firstSeed: 'number', settings: ['text'], trainer: {} },
  ...{ 'model?': 'text', 'data?': {}, 'prm?': 'text', prmProblems: 'number', 'cache?': 'text' },
};

const CONFIG = 'config.json';

/** The request of the comparison in a folder; undefined if there is none. */
export async function readRequest(folder: string): Promise<CompareRequest | undefined> {
  const file = join(folder, CONFIG);
  const { compare } = (await readJsonFile(file, { 'compare?': REQUEST })) ?? {};
  if (compare === undefined) return undefined;
  const { preset, seeds, firstSeed } = compare;
  if (!Object.hasOwn(PRESETS, preset) || !isCount(seeds, 1000) || seeds === 0 || !isCount(firstSeed, 2 ** 30))
    throw new PrlError(
      'ERR_PRL_CORRUPT',
      `${file} must hold a known preset, 1 to 1000 seeds and a firstSeed from 0 to 2^30, not ${quoted(compare)}`,
    );
  return compare;
}

export const writeRequest = (folder: string, request: CompareRequest): Promise<void> =>
  writeFileAtomic(join(folder, CONFIG), `${JSON.stringify({ compare: request }, null, 2)}\n`);

export interface Arm {
  name: string;
  method: ResolvedTrainerOptions['method'];
  /** Options set for this arm and for all arms. The others have the trainer's defaults. */
  given: TrainerOptions;
}

interface Job {
  id: string;
  seed: number;
  /** Run folder, or the folder of the process reward model. */
  folder: string;
  /** Ids of the jobs that must be done first. */
  needs: string[];
  preset: PresetName;
  /** Policy to start from, instead of a warm start. */
  model?: string;
  /** Problems to train `model` on, instead of the preset's arithmetic. */
  data?: ComparedData;
}

/** A policy for a seed, which all its arms start from. */
export interface WarmJob extends Job {
  kind: 'warm';
  options: ResolvedTrainerOptions;
}

/** A process reward model for a seed, from the responses of its warm start. */
export interface PrmJob extends Job {
  kind: 'prm';
  warm: string;
  problems: number;
  options: ResolvedTrainerOptions;
}

/** The training of an arm from a seed's policy, and its evaluation. */
export interface CellJob extends Job {
  kind: 'cell';
  arm: string;
  warm: string;
  prm?: string;
  options: ResolvedTrainerOptions;
}

export type CompareJob = WarmJob | PrmJob | CellJob;

/** The file with a job's result. It is written last and atomically, so its presence means that the job is done. */
export const RESULT_FILE = { warm: 'warm.json', prm: 'prm.json', cell: 'cell.json' } as const;
export const resultFile = ({ folder, kind }: CompareJob): string => join(folder, RESULT_FILE[kind]);
export const isDone = (job: CompareJob): boolean => existsSync(resultFile(job));

/** What all arms have, unless the request or a setting says otherwise. */
const defaultsOf = ({ preset, data }: CompareRequest): TrainerOptions =>
  data ? DATASET_DEFAULTS : PRESETS[preset].trainer;

export function armsOf(request: CompareRequest): Arm[] {
  const { methods, settings, trainer } = request;
  const arms = methods.split(',').map((part): Arm => {
    const [name, method = name] = part.trim().split('=');
    if (!/^[\w+-]+$/.test(name)) throw invalidArgument(`--methods must list METHOD or NAME=METHOD, not '${part}'`);
    const known = checkChoice('--methods', method, TRAINER_OPTIONS.method.choices);
    return { name, method: known, given: { ...defaultsOf(request), ...trainer } };
  });
  const names = arms.map(({ name }) => name);
  if (new Set(names).size < names.length) throw invalidArgument(`--methods names one twice: ${names.join(', ')}`);
  for (const setting of settings) {
    const { arm: name, option, value } = parseSetting(setting);
    const arm = arms.find((each) => each.name === name);
    if (!arm) continue;
    const { method: _, seed: __, ...table } = TRAINER_OPTIONS;
    const [key, parsed] = optionFromText(table, option, value, setting);
    arm.given = { ...arm.given, [key]: parsed };
  }
  return arms;
}

function parseSetting(setting: string) {
  const match = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(setting);
  if (!match) throw invalidArgument(`'${setting}' must be METHOD.option=value, such as prl.eta=20`);
  const [, arm, option, value] = match;
  return { arm, option, value };
}

/** Every job of a comparison, seed by seed, so that finished cells can be paired early. */
export function planJobs(output: string, request: CompareRequest): CompareJob[] {
  const { preset: name, seeds, firstSeed, model, data, prm, prmProblems } = request;
  const preset: Preset = PRESETS[name];
  const arms = armsOf(request);
  const cache = request.cache ?? join(output, 'cache');
  const common = resolveOptions('prl compare', TRAINER_OPTIONS, { ...defaultsOf(request), ...request.trainer });
  const { level, temperature, maxCompletionLength, stepSplit, stepLength, stepTokens, stepStrings } = common;
  const base = [
    ...[preset.model, preset.warmStart, preset.levels, model, level, temperature, maxCompletionLength],
    ...[common.evalProblems, common.evalSamples, ...(data ? [data] : [])],
  ];
  const scored = [...base, prmProblems, stepSplit, stepLength, stepTokens, stepStrings];
  return Array.from({ length: seeds }, (_, i): CompareJob[] => {
    const seed = firstSeed + i;
    const options = { ...common, seed };
    const start = { preset: name, model, data };
    const warm: WarmJob = {
      ...{ kind: 'warm', id: `warm-${seed}`, seed, ...start, options, needs: [] },
      folder: join(cache, `warm-${hashOf(base)}-seed-${seed}`),
    };
    const scorer: PrmJob = {
      ...{ kind: 'prm', id: `prm-${seed}`, seed, ...start, problems: prmProblems, options, needs: [warm.id] },
      warm: warm.folder,
      folder: join(cache, `prm-${hashOf(scored)}-seed-${seed}`),
    };
    const cells = arms.map(({ name: arm, method, given }): CellJob => {
      const asksModel = methodNeeds(method, 'processRewardModel');
      return {
        ...{ kind: 'cell', id: `${arm}-${seed}`, arm, seed, ...start, warm: warm.folder },
        folder: join(output, 'cells', `${arm}-seed-${seed}`),
        prm: asksModel ? (prm ?? scorer.folder) : undefined,
        options: resolveOptions(arm, TRAINER_OPTIONS, { ...given, method, seed }),
        needs: asksModel && prm === undefined ? [scorer.id] : [warm.id],
      };
    });
    return [warm, ...(cells.some(({ needs }) => needs.includes(scorer.id)) ? [scorer] : []), ...cells];
  }).flat();
}

const hashOf = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8);

/** The request after a resume, which may add seeds and arms. Other changes throw. */
export function mergeRequests(known: CompareRequest | undefined, given: Values): CompareRequest {
  const { preset, methods, seeds, firstSeed, settings, model, prm, prmProblems, cache, ...others } = given;
  const { data, trainer } = dataOf(known, preset, others);
  const fresh = Object.entries({ preset, methods, seeds, firstSeed, model, prm, prmProblems, cache }).filter(
    ([, value]) => value !== undefined,
  );
  const request = {
    ...{
      preset: 'quickstart',
      methods: 'grpo,raft,prl,frpo,progrs',
      seeds: 5,
      firstSeed: 0,
      settings: [],
      prmProblems: 200,
    },
    ...known,
    ...Object.fromEntries(fresh),
    ...(data && { data }),
    trainer: { ...known?.trainer, ...trainer },
  } as CompareRequest;
  const added = settings as string[];
  const names = armsOf({ ...request, settings: added }).map((arm) => arm.name);
  for (const setting of added) {
    const { arm } = parseSetting(setting);
    if (!names.includes(arm))
      throw outOfRange(`'${setting}': --methods has no '${arm}'. Did you mean '${closest(arm, names)}'?`);
  }
  if (request.data) checkDataset(request);
  // Settings of methods that are left out this time are kept. The last setting of an option counts.
  request.settings = [...(known?.settings ?? []), ...added];
  for (const name of ['preset', 'firstSeed', 'model', 'prmProblems'] as const)
    if (known && known[name] !== request[name])
      throw invalidArgument(`this comparison has ${name} ${known[name] ?? 'unset'}, not ${request[name]}`);
  return request;
}

/** The dataset of a request, and the given options that are the trainer's. A resumed comparison keeps its dataset. */
function dataOf(known: CompareRequest | undefined, preset: unknown, given: Values) {
  const mine = part(given, DATA_OPTIONS);
  const trainer = Object.fromEntries(Object.entries(given).filter(([name]) => !(name in DATA_OPTIONS)));
  const stray = firstGiven(mine);
  if (known && stray)
    throw invalidArgument(`${stray} cannot be changed: a comparison keeps its problems and its model`);
  if (stray === undefined) return { data: known?.data, trainer };
  if (mine.dataset === undefined) throw invalidArgument(`${stray} needs --dataset`);
  if (preset !== undefined)
    throw invalidArgument('--preset is for the arithmetic task: it cannot be used with --dataset');
  return { data: resolveOptions('prl compare', DATA_OPTIONS, mine), trainer };
}

/** @throws TypeError if a comparison on a dataset lacks what the arithmetic task has by itself */
function checkDataset(request: CompareRequest): void {
  if (request.model === undefined) throw invalidArgument('--dataset needs --model, the model to start from');
  if (request.trainer.maxSteps === undefined) throw invalidArgument('--dataset needs --max-steps');
  const scored = armsOf(request).find(({ method }) => methodNeeds(method, 'processRewardModel'));
  if (scored && request.prm === undefined)
    throw invalidArgument(`${scored.name} with --dataset needs --prm, a process reward model of that model`);
}

export interface JobHooks {
  interrupt: Interrupt;
  onProgress?: (text: string) => void;
}

export interface PrmResult {
  seed: number;
  seconds: number;
  /** Tokens generated to learn from. */
  tokens: number;
  /** Quality on held-out problems. */
  figures: Record<string, number | null>;
}
