// A policy as a server, for vLLM's clients and for Tinker's: `prl-node/serve`.
export type { RunningServer } from './running.js';
export { type ServeOptions, serve } from './server.js';
export { serveTinker, type TinkerServeOptions } from './tinker/server.js';
