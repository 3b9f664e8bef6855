// Answers as it is told to: what a pool must cope with.
import { parentPort, threadId } from 'node:worker_threads';

parentPort!.on('message', (question: string) => {
  if (question === 'hang') for (;;);
  if (question === 'throw') throw new Error('thrown by the worker');
  if (question === 'memory') for (const all: unknown[] = []; ; ) all.push(new Array(100_000).fill(all.length));
  parentPort!.postMessage(`${question} by ${threadId}`);
});
parentPort!.postMessage('ready');
