// The options of TinkerPolicy.connect, checked.
import { invalidArgument } from '../../base/errors.js';
import { checkUrl } from '../../base/http.js';
import { checkBoolean, checkChoice, checkFunction, checkInteger, checkOptions, checkText } from '../../base/options.js';
import { HUB_OPTIONS, type HubOptions } from '../../hub/repo.js';
import type { ConnectionOptions } from './connection.js';
import type { ModelSetup } from './model.js';

/** Options of {@link TinkerPolicy.connect}. */
export interface TinkerOptions extends HubOptions {
  /** Address of the server, such as http://127.0.0.1:8000. */
  url: string;
  /** Key of the server's API, sent as X-API-Key. It is never written to a file or a message. */
  apiKey?: string | undefined;
  /** The base model, as the server names it. */
  baseModel: string;
  /**
   * Where config.json and the tokenizer are: a folder, or the id of a model of the hub. The weights are not read.
   * Default: `baseModel`.
   */
  model?: string | undefined;
  /** Rank of the LoRA adapter that is trained. Default 32. */
  loraRank?: number | undefined;
  /** Seed of the adapter's weights. Default: the server's choice. */
  seed?: number | undefined;
  /** Whether the feed-forward layers get an adapter. Default: the server's choice. */
  trainMlp?: boolean | undefined;
  /** Whether attention gets an adapter. Default: the server's choice. */
  trainAttn?: boolean | undefined;
  /** Whether the output head gets an adapter. Default: the server's choice. */
  trainUnembed?: boolean | undefined;
  /**
   * 'auto' (default): a loss of the server where it is the same loss, which saves a forward pass; else the linear
   * surrogate. 'surrogate': always measure log-probabilities, compute the loss here, and send its gradient.
   */
  lossPath?: 'auto' | 'surrogate' | undefined;
  /**
   * How the server turns the terms of the tokens into a loss. 'sum': it adds them up, as the protocol says. 'mean': it
   * averages over each sequence and over sequences, as SkyRL's JAX backend does; the client undoes that. Default: by
   * what the server answers to a forward pass.
   */
  lossReduction?: 'sum' | 'mean' | undefined;
  /** Form of the batches. Default 'json', and 'protobuf' once the server answers 415 to it. */
  encoding?: 'json' | 'protobuf' | undefined;
  /** Milliseconds that one request may take. Default 330000: a server may hold a question for a result for 300 s. */
  timeout?: number | undefined;
  /** Milliseconds that a result may take, from its request on. Default 3600000, an hour. */
  resultTimeout?: number | undefined;
  /** Attempts after the first, while the server is away or busy. Default 8. */
  retries?: number | undefined;
  /** Milliseconds before the first of them, roughly. They double with each. Default 500. */
  retryDelay?: number | undefined;
  /** Called with what is waited for: a queue, a server that is away. '' when nothing is. */
  onStatus?: ((status: string) => void) | undefined;
  /** Called with warnings. */
  onWarning?: ((message: string) => void) | undefined;
}

const NAMES = [
  ...['url', 'apiKey', 'baseModel', 'model', 'loraRank', 'seed', 'trainMlp', 'trainAttn', 'trainUnembed'],
  ...['lossPath', 'lossReduction', 'encoding', 'timeout', 'resultTimeout', 'retries', 'retryDelay'],
  ...['onStatus', 'onWarning', ...HUB_OPTIONS],
];

/** What a policy keeps of its options. */
export interface TinkerSetup extends ModelSetup {
  lossPath: 'auto' | 'surrogate';
  onWarning?: ((message: string) => void) | undefined;
}

export function readTinkerOptions(given: TinkerOptions): {
  connection: ConnectionOptions;
  setup: TinkerSetup;
  model: string;
  hub: HubOptions;
} {
  const options = checkOptions('TinkerPolicy.connect', given, NAMES);
  const { apiKey, onStatus, onWarning, seed, trainMlp, trainAttn, trainUnembed, lossReduction } = options;
  const url = checkUrl('url', options.url);
  // It would stand in messages and files.
  if (new URL(url).username || new URL(url).password)
    throw invalidArgument('url must not hold a user or a password: pass apiKey');
  for (const [name, value] of Object.entries({ onStatus, onWarning }))
    if (value !== undefined) checkFunction(name, value);
  const baseModel = checkText('baseModel', options.baseModel, 'the name of a model');
  const flags = Object.entries({ train_mlp: trainMlp, train_attn: trainAttn, train_unembed: trainUnembed });
  const lora = {
    rank: checkInteger('loraRank', options.loraRank ?? 32, 1, 2 ** 16),
    ...(seed !== undefined && { seed: checkInteger('seed', seed, 0, 2 ** 31 - 1) }),
    ...Object.fromEntries(
      flags.filter(([, value]) => value !== undefined).map(([name, value]) => [name, checkBoolean(name, value)]),
    ),
  };
  return {
    connection: {
      url,
      apiKey: apiKey === undefined ? undefined : checkText('apiKey', apiKey),
      timeout: checkInteger('timeout', options.timeout ?? 330_000, 1, 2 ** 31 - 1),
      resultTimeout: checkInteger('resultTimeout', options.resultTimeout ?? 3_600_000, 1, 2 ** 31 - 1),
      retries: checkInteger('retries', options.retries ?? 8, 0, 100),
      retryDelay: checkInteger('retryDelay', options.retryDelay ?? 500, 0, 60_000),
      onStatus,
    },
    setup: {
      baseModel,
      lora,
      encoding: checkChoice('encoding', options.encoding ?? 'json', ['json', 'protobuf']),
      lossReduction:
        lossReduction === undefined
          ? undefined
          : checkChoice<'sum' | 'mean'>('lossReduction', lossReduction, ['sum', 'mean']),
      lossPath: checkChoice('lossPath', options.lossPath ?? 'auto', ['auto', 'surrogate']),
      onWarning,
    },
    model: options.model === undefined ? baseModel : checkText('model', options.model),
    hub: Object.fromEntries(
      HUB_OPTIONS.filter((name) => name in options).map((name) => [name, options[name as keyof HubOptions]]),
    ),
  };
}
