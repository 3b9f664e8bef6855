// `prl train` as a process of its own, on a model so small that a step takes milliseconds.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { packageRoot } from '../../lib/kernels/native.js';
import { environment, main } from './prl.js';

export const TINY = [
  ...['--preset', 'smoke', '--prompts-per-step', '4', '--num-generations', '4', '--max-completion-length', '12'],
  ...['--eval-problems', '10', '--eval-samples', '2'],
];

export interface PrlProcess {
  child: ChildProcess;
  /** What it has said so far, on both streams. */
  said(): string;
  /** The exit code, or the signal that it died of. */
  ended: Promise<number | NodeJS.Signals | null>;
}

/** @param shell run by sh first, in front of the command: `ulimit -f 10` */
export function prl(args: readonly string[], shell?: string): PrlProcess {
  const command = [process.execPath, ...main, ...args];
  const [file, ...rest] = shell === undefined ? command : ['sh', '-c', `${shell} && exec "$@"`, 'sh', ...command];
  const child = spawn(file, rest, { cwd: packageRoot, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      text += chunk;
    });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('close', (code, signal) => resolve(code ?? signal)),
  );
  return { child, said: () => text, ended };
}

/** Rows of a log without what a clock decides. */
export function timelessRows(file: string): object[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  if (lines.pop() !== '') throw new Error(`${file} does not end with a line break`);
  return lines.map((line) => {
    const row = Object.entries(JSON.parse(line));
    return Object.fromEntries(row.filter(([name]) => !/^(seconds\/|tokens_per_second)/.test(name)));
  });
}

/** Looks again and again until it is so; a process that ends before is a failure. */
export async function until(isSo: () => boolean, { ended, said }: PrlProcess): Promise<void> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  while (!isSo()) {
    if (over) throw new Error(`the process ended before: ${said()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
