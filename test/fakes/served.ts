// `prl serve` in a process of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { packageRoot } from '../../lib/kernels/native.js';
import { environment, main } from './prl.js';

export interface Served {
  url: string;
  child: ChildProcess;
  /** What it has said so far, on both streams. */
  said(): string;
  /** Sends a signal and waits for the end; gives the exit code, or the signal that it died of. */
  end(signal?: NodeJS.Signals): Promise<number | NodeJS.Signals | null>;
}

export function startServer(model: string, args: string[] = [], env: Record<string, string> = {}): Promise<Served> {
  const child = spawn(process.execPath, [...main, 'serve', '--model', model, ...args], {
    cwd: packageRoot,
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('exit', (code, signal) => resolve(code ?? signal)),
  );
  let text = '';
  const end = (signal: NodeJS.Signals = 'SIGKILL') => {
    child.kill(signal);
    return ended;
  };
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        text += chunk;
        const found = /is served at (http:\S+)/.exec(text);
        if (found) resolve({ url: found[1], child, said: () => text, end });
      });
    ended.then((code) => reject(new Error(`prl serve ended with ${code}: ${text}`)));
  });
}
