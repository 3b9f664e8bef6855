// Made from server.ts by `npm run docs`; do not edit.

/** Options of `prl serve --tinker`, in camelCase. */
export interface TinkerServeSettings {
  /** Address to listen on; 0.0.0.0: all addresses of the machine. Default '127.0.0.1'. */
  host?: string | undefined;
  /** Port; 0 chooses a free one and reports it. Default 8000. At least 0, at most 65535. */
  port?: number | undefined;
  /**
   * Key that requests must send as X-API-Key; Thinking Machines' SDK wants one that begins with tml- (default:
   * PRL_API_KEY; neither: no key).
   */
  apiKey?: string | undefined;
  /** Name of the model in answers (default: --model). */
  servedModelName?: string | undefined;
  /** Most requests in progress at once; further ones get status 429 and must retry. Default 1024. At least 1. */
  maxRequests?: number | undefined;
  /** Most completions of one request. Default 1024. At least 1, at most 1048576. */
  maxCompletions?: number | undefined;
  /** Most bytes of one request. Default 16777216. At least 1, at most 268435456. */
  maxBodyBytes?: number | undefined;
  /** Milliseconds in which a whole request must arrive. Default 30000. At least 1. */
  bodyTimeout?: number | undefined;
  /** Folder of the states that clients save. Default 'runs/tinker'. */
  stateFolder?: string | undefined;
  /**
   * Most models in training at once, each with the memory of a policy and its optimizer; further ones wait for a
   * place. Default 4. At least 1.
   */
  maxModels?: number | undefined;
  /**
   * Most copies of weights for sampling in memory; the one that was not used longest goes first. Default 4. At least
   * 1.
   */
  maxSamplers?: number | undefined;
  /**
   * Milliseconds without a heartbeat after which a session ends and its models are freed. Default 300000. At least 1.
   */
  sessionTimeout?: number | undefined;
  /** Tokens per forward and backward pass. Default 4096. At least 1. */
  microBatchTokens?: number | undefined;
}
