import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../base/atomic.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { SERVE_OPTIONS, serve } from '../../rollout/serve/server.js';
import type { Command } from '../kit/args.js';
import { LOAD_OPTIONS, modelFolder } from '../kit/model-folder.js';

const OPTIONS = {
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
  ...SERVE_OPTIONS,
} as const satisfies OptionTable;

export const serveCommand: Command = {
  name: 'serve',
  summary: "Serves a model over HTTP, with the part of vLLM's /v1/completions that rollouts need.",
  groups: [{ title: 'Options', options: OPTIONS }],
  required: ['model'],
  examples: [
    ['prl serve --model runs/a', 'The newest checkpoint of a run at http://127.0.0.1:8000'],
    [
      'prl serve --model M --port 8001 --sync-folder sync',
      'A rollout worker that loads the weights that training saves in sync',
    ],
  ],
  async run(values) {
    const { model, dtype, extraTensors, ...options } = resolveOptions('prl serve', OPTIONS, values);
    const apiKey = options.apiKey ?? (process.env.PRL_API_KEY || undefined);
    const folder = await modelFolder(model!);
    if (options.syncFolder !== undefined) await makeFolder(options.syncFolder);
    const server = await serve({
      servedModelName: model,
      ...options,
      apiKey,
      policy: await Policy.load(folder, { dtype, extraTensors }),
      tokenizer: existsSync(join(folder, 'tokenizer.json')) ? await Tokenizer.load(folder) : undefined,
      onError: (error) => console.error(`prl serve: ${error.stack}`),
    });
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
