// The process that does one job of a comparison. Its argument is the job; its messages go to the parent.

import type { PrlError } from '../../base/errors.js';
import { Interrupt } from '../kit/interrupt.js';
import { runJob } from './jobs.js';
import type { CompareJob } from './plan.js';

export type WorkerMessage = { progress: string } | { error: string };

const send = (message: WorkerMessage) => process.send?.(message);
let over = false;
// Without its parent a job would run unseen and block the comparison that resumes it. (process.exit() would wait for
// the running native call.)
const alone = () => {
  if (!over) process.kill(process.pid, 'SIGKILL');
};
process.on('disconnect', alone);
// The parent may have died while this file was loading.
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
