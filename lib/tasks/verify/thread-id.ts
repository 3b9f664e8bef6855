import { readlinkSync } from 'node:fs';

/** The system's number of the calling thread, where it tells it (Linux). */
export function threadId(): number | undefined {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').pop());
  } catch {
    return undefined;
  }
}
