// Runs a function of cuda-scenarios.ts in a process or a worker thread of its own.
import { spawn } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Outcome, Scenario } from './cuda-scenarios.js';

// TypeScript in a checkout, JavaScript in a packed folder.
const extension = extname(import.meta.url);
export const scenarioFile = new URL(`./cuda-scenarios${extension}`, import.meta.url);

/** Starts the scenario in a process with `env` on top of this one's environment. */
export function inProcess(scenario: Scenario, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(scenarioFile), scenario], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  let wake = () => {};
  child.stdout.on('data', (piece) => {
    stdout += piece;
    wake();
  });
  child.stderr.on('data', (piece) => (stderr += piece));
  const ended = new Promise<number | string>((resolve) =>
    child.on('close', (code, signal) => {
      wake();
      resolve(code ?? signal!);
    }),
  );
  return {
    child,
    ended,
    send: (message: unknown) => child.stdin.write(`${JSON.stringify(message)}\n`),
    /** The next line that the scenario prints: what it returned last of all. */
    async receive(): Promise<Outcome> {
      for (;;) {
        const end = stdout.indexOf('\n');
        if (end >= 0) {
          const line = stdout.slice(0, end);
          stdout = stdout.slice(end + 1);
          return JSON.parse(line);
        }
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`${scenario} ended with ${child.exitCode ?? child.signalCode} and said nothing: ${stderr}`);
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

/** Runs the scenario in a process to its end. */
export async function outcomeOf(scenario: Scenario, env: Record<string, string> = {}): Promise<Outcome> {
  const { receive, ended, child } = inProcess(scenario, env);
  child.stdin.end();
  const outcome = await receive();
  const status = await ended;
  if (status !== 0) throw new Error(`${scenario} ended with ${status}`);
  return outcome;
}

/** Starts the scenario in a worker thread; its outcome is the worker's first message. */
export function inWorker(scenario: Scenario): { worker: Worker; outcome: Promise<Outcome> } {
  const code = `
    const ready = ${extension === '.ts'} ? import('tsx/esm/api').then(({ register }) => register()) : Promise.resolve();
    ready.then(() => import(${JSON.stringify(scenarioFile.href)})).then(({ run }) => run(${JSON.stringify(scenario)}, (outcome) =>
      require('node:worker_threads').parentPort.postMessage(outcome)));`;
  const worker = new Worker(code, { eval: true });
  const outcome = new Promise<Outcome>((resolve, reject) => worker.once('message', resolve).once('error', reject));
  outcome.catch(() => {});
  return { worker, outcome };
}
