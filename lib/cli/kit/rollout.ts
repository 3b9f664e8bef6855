import { resolve } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import type { OptionsOf, OptionTable } from '../../base/options.js';
import { checkChoice } from '../../base/options.js';
import type { RolloutEngine } from '../../rollout/engine.js';
import { SglangEngine } from '../../rollout/sglang.js';
import { VllmEngine } from '../../rollout/vllm.js';
import { firstGiven } from './args.js';
import { warn } from './warn.js';

const ENGINES = { vllm: VllmEngine, sglang: SglangEngine };
type EngineName = keyof typeof ENGINES;

export const ROLLOUT_OPTIONS = {
  rolloutUrl: {
    type: 'strings',
    doc: 'Servers that sample the responses instead of this process: vLLM, SGLang or prl serve (docs/rollout.md)',
  },
  rolloutEngine: {
    type: 'choice',
    choices: Object.keys(ENGINES) as EngineName[],
    doc: 'Kind of the rollout servers (default: vllm; also for prl serve)',
  },
  rolloutModel: { type: 'string', doc: 'Name of the served model, sent to the servers (default: none is sent)' },
  syncFolder: {
    type: 'string',
    doc: 'Folder through which the servers get new weights; its path must be the same for all',
  },
} as const satisfies OptionTable;

/** The settings of the servers that config.json keeps. */
export interface RolloutSettings {
  urls: readonly string[];
  engine: EngineName;
  model?: string;
  syncFolder: string;
}

/** The options of the command line over those of the resumed run. undefined: the policy samples. */
export function rolloutSettings(
  { rolloutUrl, rolloutEngine, rolloutModel, syncFolder }: OptionsOf<typeof ROLLOUT_OPTIONS>,
  known: RolloutSettings | undefined,
): RolloutSettings | undefined {
  const urls = rolloutUrl ?? known?.urls;
  const folder = syncFolder === undefined ? known?.syncFolder : resolve(syncFolder);
  if (urls === undefined) {
    const alone = firstGiven({ rolloutEngine, rolloutModel, syncFolder });
    if (alone) throw invalidArgument(`${alone} needs --rollout-url, the servers`);
    return undefined;
  }
  if (folder === undefined)
    throw invalidArgument(
      '--rollout-url needs --sync-folder, a folder that the servers can read, to give them the weights',
    );
  const model = rolloutModel ?? known?.model;
  return { urls, engine: rolloutEngine ?? known?.engine ?? 'vllm', ...(model && { model }), syncFolder: folder };
}

/** Connects to the servers. Their key is read from PRL_API_KEY, which other users of the machine cannot see. */
export function rolloutEngineOf({
  urls,
  engine,
  model,
  syncFolder,
}: Omit<RolloutSettings, 'syncFolder'> & { syncFolder?: string }): RolloutEngine {
  const apiKey = process.env.PRL_API_KEY || undefined;
  const Engine = ENGINES[checkChoice('rolloutEngine', engine, Object.keys(ENGINES) as EngineName[])];
  return new Engine({ urls, model, syncFolder, apiKey, onWarning: warn });
}
