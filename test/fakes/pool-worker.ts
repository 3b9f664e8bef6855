// Answers as it is told to: what a pool must cope with.
import { threadId as number, parentPort } from 'node:worker_threads';
import { threadId } from '../../lib/tasks/verify/thread-id.js';

parentPort!.on('message', (question: string) => {
  if (question === 'hang') for (;;);
  // Waits without computing: a machine that is busy with something else.
  if (question === 'wait') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
  if (question === 'throw') throw new Error('thrown by the worker');
  if (question === 'memory') for (const all: unknown[] = []; ; ) all.push(new Array(100_000).fill(all.length));
  parentPort!.postMessage(`${question} by ${number}`);
});
parentPort!.postMessage({ ready: threadId() });
