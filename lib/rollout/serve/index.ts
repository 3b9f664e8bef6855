// A policy as a server for vLLM's clients: `prl-node/serve`.
export { type RunningServer, type ServeOptions, serve } from './server.js';
