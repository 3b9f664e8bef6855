// Who trains: this process, or a server that speaks the Tinker protocol.
import { invalidArgument } from '../../base/errors.js';
import type { OptionsOf, OptionTable } from '../../base/options.js';
import { TinkerPolicy } from '../../policy/tinker/policy.js';
import { firstGiven } from './args.js';
import { Progress } from './progress.js';
import { warn } from './warn.js';

export const ENGINE_OPTIONS = {
  engine: {
    type: 'choice',
    choices: ['native', 'tinker'],
    doc: 'Who trains: this process, or a server that speaks the Tinker protocol (default: native; docs/engines.md)',
  },
  url: { type: 'string', doc: 'Address of the Tinker server; its key is read from TINKER_API_KEY' },
  baseModel: {
    type: 'string',
    doc: "The server's name of the model to start from; --model then names only its tokenizer and config (default: the same)",
  },
  loraRank: { type: 'integer', min: 1, doc: 'Rank of the adapter that the server trains (default: 32)' },
  lossPath: {
    type: 'choice',
    choices: ['auto', 'surrogate'],
    doc: "Loss: the server's where it is the same, or always computed here (default: auto)",
  },
} as const satisfies OptionTable;

/** The settings of a server that config.json keeps. A resumed run may change the address and the path of the loss. */
export interface EngineSettings {
  engine: { name: 'tinker'; baseModel: string; loraRank: number };
  url: string;
  lossPath: 'auto' | 'surrogate';
}

/** The options of the command line over those of the resumed run. undefined: this process trains. */
export function engineSettings(
  { engine, url, baseModel, loraRank, lossPath }: OptionsOf<typeof ENGINE_OPTIONS>,
  known: Partial<EngineSettings>,
): EngineSettings | undefined {
  if ((engine ?? known.engine?.name ?? 'native') === 'native') {
    const alone = firstGiven({ url, baseModel, loraRank, lossPath });
    if (alone) throw invalidArgument(`${alone} needs --engine tinker`);
    return undefined;
  }
  const base = baseModel ?? known.engine?.baseModel;
  const address = url ?? known.url;
  if (address === undefined) throw invalidArgument('--engine tinker needs --url, the address of the server');
  if (base === undefined)
    throw invalidArgument("--engine tinker needs --base-model, the server's name of the model to start from");
  return {
    engine: { name: 'tinker', baseModel: base, loraRank: loraRank ?? known.engine?.loraRank ?? 32 },
    url: address,
    lossPath: lossPath ?? known.lossPath ?? 'auto',
  };
}

/** Connects to the server. `model`: where its tokenizer and config are. The progress line shows what is waited for. */
export const connectEngine = (
  { url, engine: { baseModel, loraRank }, lossPath }: EngineSettings,
  { model = baseModel, seed, signal }: { model?: string; seed: number; signal?: AbortSignal },
): Promise<TinkerPolicy> =>
  TinkerPolicy.connect({
    ...{ url, baseModel, loraRank, lossPath, model, seed, signal },
    apiKey: process.env.TINKER_API_KEY || process.env.PRL_API_KEY || undefined,
    onStatus: (status) => Progress.current?.note(status),
    onWarning: warn,
  });
