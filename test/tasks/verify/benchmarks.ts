// Public benchmarks, which are not part of this repository. PRL_BENCHMARKS names a folder of their files (aime24.jsonl
// ...).
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastBoxed } from '../../../lib/tasks/verify/extract.js';

const FOLDER = process.env.PRL_BENCHMARKS;

/** The rows of a benchmark; undefined without its file. */
export function benchmark(name: string): { [field: string]: unknown }[] | undefined {
  const file = FOLDER && join(FOLDER, `${name}.jsonl`);
  if (!file || !existsSync(file)) return undefined;
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** The gold answers of a benchmark; undefined without its file. */
export function goldAnswers(name: string): string[] | undefined {
  return benchmark(name)?.flatMap((row) => {
    if (name.startsWith('gsm8k')) return (row.answer as string).split('####')[1].trim();
    if (name === 'minerva_math') return lastBoxed(row.solution as string) ?? [];
    return [row.final_answer ?? row.answer ?? row.Answer ?? row.target].flat().map(String);
  });
}
