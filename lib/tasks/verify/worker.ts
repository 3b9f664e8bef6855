// A thread of the pool: judges one response after the other.
import { parentPort } from 'node:worker_threads';
import type { Extraction } from './extract.js';
import { judgeMath } from './judge.js';
import { threadId } from './thread-id.js';

export interface Question {
  response: string;
  gold: string;
  extraction: Extraction;
}

// The first parse builds the parser's tables; no deadline runs yet.
judgeMath('\\boxed{\\frac12}', '0.5', 'boxed');
parentPort!.on('message', ({ response, gold, extraction }: Question) => {
  parentPort!.postMessage(judgeMath(response, gold, extraction));
});
parentPort!.postMessage({ ready: threadId() });
