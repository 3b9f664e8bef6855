import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../base/atomic.js';
import { invalidArgument } from '../../base/errors.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { SERVE_OPTIONS, serve } from '../../rollout/serve/server.js';
import { serveTinker, TINKER_OPTIONS } from '../../rollout/serve/tinker/server.js';
import { type Command, kebab, part, type Values } from '../kit/args.js';
import { LOAD_OPTIONS, modelFolder } from '../kit/model-folder.js';

const LOADING = {
  model: {
    type: 'string',
    doc: 'Folder of a model or of a run (its newest checkpoint), or the id of a model of the hub',
  },
  dtype: {
    type: 'choice',
    choices: ['float32', 'bfloat16'],
    default: 'float32',
    doc: 'Type of the weights in memory; bfloat16 halves them',
  },
  ...LOAD_OPTIONS,
  tinker: {
    type: 'boolean',
    default: false,
    doc: "Speaks the Tinker protocol instead of vLLM's, so that clients of Tinker train copies of the model",
  },
} as const satisfies OptionTable;

/** The options that both protocols have, and those that only one has. */
const { syncFolder, ...BOTH } = SERVE_OPTIONS;
const ONLY_VLLM = { syncFolder } as const satisfies OptionTable;
const { stateFolder, maxModels, maxSamplers, sessionTimeout, microBatchTokens } = TINKER_OPTIONS;
const ONLY_TINKER = {
  stateFolder,
  maxModels,
  maxSamplers,
  sessionTimeout,
  microBatchTokens,
} as const satisfies OptionTable;

export const serveCommand: Command = {
  name: 'serve',
  summary: "Serves a model over HTTP: the part of vLLM's /v1/completions that rollouts need, or the Tinker protocol.",
  groups: [
    { title: 'Options', options: { ...LOADING, ...BOTH } },
    { title: "With vLLM's protocol", options: ONLY_VLLM },
    { title: 'With --tinker', options: ONLY_TINKER },
  ],
  required: ['model'],
  examples: [
    ['prl serve --model runs/a', 'The newest checkpoint of a run at http://127.0.0.1:8000'],
    [
      'prl serve --model M --port 8001 --sync-folder sync',
      'A rollout worker that loads the weights that training saves in sync',
    ],
    [
      'prl serve --model M --tinker --state-folder states',
      'A server for training scripts that were written for Tinker',
    ],
  ],
  async run(values) {
    const { model, dtype, extraTensors, tinker } = resolveOptions('prl serve', LOADING, part(values, LOADING));
    checkProtocol(values, tinker);
    const table = tinker ? TINKER_OPTIONS : SERVE_OPTIONS;
    const options = resolveOptions('prl serve', table, part(values, table));
    const apiKey = options.apiKey ?? (process.env.PRL_API_KEY || undefined);
    const folder = await modelFolder(model!);
    if ('syncFolder' in options) await makeFolder(options.syncFolder as string);
    const common = {
      servedModelName: model,
      ...options,
      apiKey,
      policy: await Policy.load(folder, { dtype, extraTensors }),
      tokenizer: existsSync(join(folder, 'tokenizer.json')) ? await Tokenizer.load(folder) : undefined,
      onError: (error: Error) => console.error(`prl serve: ${error.stack}`),
    };
    const server = tinker
      ? await serveTinker({ ...common, tokenizerId: model, onLog: (line) => console.error(`prl serve: ${line}`) })
      : await serve(common);
    if (apiKey === undefined && !['127.0.0.1', '::1', 'localhost'].includes(options.host))
      console.error(
        `prl: ${options.host} is open to other machines and --api-key is not set: anyone who reaches it can use it`,
      );
    console.log(`${model} is served at ${server.url}`);
    await new Promise<void>((resolve) => {
      process.once('SIGINT', () => resolve());
      process.once('SIGTERM', () => resolve());
    });
    await server.close();
    return 0;
  },
};

/** An option of the other protocol would be ignored. */
function checkProtocol(values: Values, tinker: boolean): void {
  const [other] = Object.keys(part(values, tinker ? ONLY_VLLM : ONLY_TINKER));
  if (other !== undefined)
    throw invalidArgument(`--${kebab(other)} has no meaning ${tinker ? 'with' : 'without'} --tinker`);
}
