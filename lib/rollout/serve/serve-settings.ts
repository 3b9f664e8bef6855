// Made from server.ts by `npm run docs`; do not edit.

/** Options of `prl serve`, in camelCase. */
export interface ServeSettings {
  /** Address to listen on; 0.0.0.0: all addresses of the machine. Default '127.0.0.1'. */
  host?: string | undefined;
  /** Port; 0 chooses a free one and reports it. Default 8000. At least 0, at most 65535. */
  port?: number | undefined;
  /** Key that requests must send as a bearer token (default: PRL_API_KEY; neither: no key). */
  apiKey?: string | undefined;
  /** Folder from which clients may load new weights (default: none, the weights stay). */
  syncFolder?: string | undefined;
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
}
