// The process that does one job of a comparison: its argument is the job, what it has to say goes to the parent.

import type { PrlError } from '../../base/errors.js';
import { Interrupt } from '../kit/interrupt.js';
import { runJob } from './jobs.js';
import type { CompareJob } from './plan.js';

export type WorkerMessage = { progress: string } | { error: string };

const send = (message: WorkerMessage) => process.send?.(message);
let over = false;
// Without its parent a job would go on unseen, and be in the way of the one that resumes it. (process.exit() would wait for the
// native call that runs.)
const alone = () => {
  if (!over) process.kill(process.pid, 'SIGKILL');
};
process.on('disconnect', alone);
// It may have died while this was loading.
if (process.send && !process.connected) alone();

const interrupt = new Interrupt();
try {
  const done = await runJob(JSON.parse(process.argv[2]) as CompareJob, {
    interrupt,
    onProgress: (progress) => send({ progress }),
  });
  process.exitCode = done ? 0 : interrupt.exitCode;
} catch (error) {
  const { message, code, stack } = error as PrlError;
  console.error(stack);
  send({ error: code ? `${message} (${code})` : message });
  process.exitCode = 1;
}
over = true;
process.disconnect?.();
