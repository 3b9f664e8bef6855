// A policy as a server that vLLM's clients can talk to: `prl-node/serve`.
export { type RunningServer, type ServeOptions, serve } from './server.js';
