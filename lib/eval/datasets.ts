import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mapAhead } from '../base/concurrency.js';
import { invalidArgument, PrlError } from '../base/errors.js';
import { corruptLine } from '../base/lines.js';
import { checkOptions, checkSignal, checkText } from '../base/options.js';
import { RecordFile, readHeader, readRecords } from '../base/records.js';
import { quoted } from '../base/text.js';
import { recordedClock } from '../policy/clock.js';
import { checkPolicy } from '../policy/generate.js';
import { checkTokenizer } from '../policy/tokenizer.js';
import { checkProblems } from '../tasks/dataset.js';
import { verifierByName } from '../tasks/verify/index.js';
import { type EvaluationRecord, RECORDS, recordFault, type Tally, tallyOf } from './record.js';
import { scoreResponses } from './score.js';
import { givenSource, sampledSource } from './sources.js';
import { type EvaluationTable, evaluationTable } from './table.js';
import type { Chunk, DatasetEvaluationOptions, EvaluationSet } from './types.js';

/** Result of {@link evaluateDatasets}. */
export interface DatasetEvaluation extends EvaluationTable {
  /** The settings that decide the results. */
  settings: { readonly [name: string]: unknown };
  /** Seconds that this call took. */
  seconds: number;
}

const SAMPLING = ['n', 'temperature', 'topK', 'topP', 'maxCompletionLength', 'seed', 'chunkSize'];
const KNOWN = [
  ...['sets', 'verifier', 'policy', 'tokenizer', 'responses', 'records', 'resume', 'identity', 'signal', 'onProgress'],
  ...SAMPLING,
];
/** Chunks in progress: while one is judged, the next is sampled. */
const AHEAD = 2;

/**
 * Evaluates a policy, or responses from a file, on sets of problems. It samples `n` responses to each problem, judges
 * them, and returns average@n, pass@k and, if the verifier finds answers, maj@n.
 *
 * With `records` all finished work is on the disk. An evaluation that was killed at any moment and resumed ends with
 * the same file and the same figures. Only the responses of the problems in progress are in memory.
 *
 * @throws TypeError or RangeError that names the option; PrlError ERR_PRL_CORRUPT for a file that cannot be used,
 *   naming the line; ERR_PRL_IO if `records` exists and `resume` is false; ERR_PRL_ABORTED
 */
export async function evaluateDatasets(options: DatasetEvaluationOptions): Promise<DatasetEvaluation> {
  options = check(options);
  const { sets, verifier = 'math', records: path, resume = false, identity = {}, signal, onProgress } = options;
  const start = performance.now();
  if (path !== undefined && !resume && existsSync(path))
    throw new PrlError('ERR_PRL_IO', `${path} already exists: resume it, or choose another file`);
  const judge = typeof verifier === 'string' ? verifierByName(verifier) : verifier;
  const found = path === undefined ? undefined : await readHeader(path, RECORDS);
  const clock = options.policy ? recordedClock(options.tokenizer!, found) : {};
  const source = options.policy ? await sampledSource(options) : await givenSource(options.responses!, sets);
  const { n } = source;
  const named = typeof verifier === 'string' && { verifier };
  const settings = { identity, ...named, ...source.settings, ...clock, sets: sets.map(describe) };
  const tallies = sets.map(({ problems }) => new Array<Tally | undefined>(problems.length));
  const file = path === undefined ? undefined : await RecordFile.open(path, RECORDS, settings);
  try {
    if (file) await readTallies(file.path, sets, n, tallies);
    const progress = new ProgressReport(tallies, n, onProgress);
    const work = async (chunk: Chunk, stop: AbortSignal) => {
      const responses = await source.respond(chunk, { signal: stop, onProgress: progress.of(chunk) });
      const records = chunk.map(async ({ set, index }, i): Promise<EvaluationRecord> => {
        const { id, prompt, answer } = sets[set].problems[index];
        const scores = await scoreResponses(sets[set].problems[index], responses[i], judge, source.thinking?.(set));
        return { set: sets[set].name, index, ...(id !== undefined && { id }), prompt, answer, ...scores };
      });
      return { chunk, records: await Promise.all(records) };
    };
    const chunks = source.chunks((set, index) => tallies[set][index] !== undefined);
    for await (const { chunk, records } of mapAhead(chunks, AHEAD, work, signal)) {
      await file?.append(records);
      const done = records.map(tallyOf);
      done.forEach((tally, i) => {
        tallies[chunk[i].set][chunk[i].index] = tally;
      });
      progress.done(chunk, done);
    }
  } finally {
    await file?.close();
  }
  const table = await evaluationTable(
    sets.map(({ name }, set) => ({ name, tallies: tallies[set] as Tally[] })),
    n,
  );
  return { settings, ...table, seconds: (performance.now() - start) / 1000 };
}

function check(options: DatasetEvaluationOptions): DatasetEvaluationOptions {
  options = checkOptions('evaluateDatasets', options, KNOWN);
  const { sets, verifier, policy, tokenizer, responses, records, signal } = options;
  if (!Array.isArray(sets) || sets.length === 0)
    throw invalidArgument('evaluateDatasets needs sets: a non-empty array of datasets, such as loadDataset returns');
  for (const [i, set] of sets.entries()) {
    if (typeof set?.name !== 'string' || set.name === '' || !Array.isArray(set.problems) || set.problems.length === 0)
      throw invalidArgument(`sets[${i}] must have a name, and problems`);
    checkProblems(`sets[${i}].problems`, set.problems);
    if (sets.findIndex(({ name }) => name === set.name) < i)
      throw invalidArgument(`the sets must have different names, but two sets are named '${set.name}'`);
  }
  if (verifier !== undefined && typeof verifier !== 'function' && typeof verifier !== 'string')
    throw invalidArgument("verifier must be a function, or the name of one, such as 'math'");
  if ((policy === undefined) === (responses === undefined))
    throw invalidArgument("evaluateDatasets needs one of 'policy' and 'responses'");
  if (policy && !tokenizer) throw invalidArgument("evaluateDatasets needs the 'tokenizer' of the policy");
  if (policy) checkPolicy('policy', policy, ['generate']);
  if (policy) checkTokenizer(tokenizer);
  const given = { ...options } as { [name: string]: unknown };
  const stray = policy ? undefined : ['tokenizer', ...SAMPLING].find((name) => given[name] !== undefined);
  if (stray !== undefined) throw invalidArgument(`'${stray}' needs 'policy': 'responses' were made elsewhere`);
  for (const [name, value] of Object.entries({ responses, records }))
    if (value !== undefined) checkText(name, value, 'the name of a file');
  checkSignal(signal);
  return options;
}

function describe({ name, problems, fingerprint }: EvaluationSet) {
  const sha256 = fingerprint ?? createHash('sha256').update(JSON.stringify(problems)).digest('hex');
  return { name, problems: problems.length, sha256 };
}

/** Reads the results that a file already holds. */
async function readTallies(
  file: string,
  sets: readonly EvaluationSet[],
  n: number,
  tallies: (Tally | undefined)[][],
): Promise<void> {
  const names = new Map(sets.map(({ name }, set) => [name, set]));
  for await (const { line, value } of readRecords(file, RECORDS)) {
    if (line === 1) continue;
    const fault = recordFault(value, n);
    if (fault !== undefined) throw corruptLine(file, line, fault);
    const record = value as unknown as EvaluationRecord;
    const set = names.get(record.set);
    const problem = set === undefined ? undefined : sets[set].problems[record.index];
    if (problem?.prompt !== record.prompt || problem.answer !== record.answer)
      throw corruptLine(file, line, `problem ${record.index} of ${quoted(record.set)} must be the same as in the data`);
    if (tallies[set!][record.index]) throw corruptLine(file, line, 'this problem is already on an earlier line');
    tallies[set!][record.index] = tallyOf(record);
  }
}

class ProgressReport {
  readonly #report: DatasetEvaluationOptions['onProgress'];
  readonly #n: number;
  readonly #total: number;
  readonly #running = new Map<Chunk, { responses: number; tokens: number }>();
  #problems = 0;
  #correct = 0;
  #tokens = 0;

  constructor(
    tallies: readonly (readonly (Tally | undefined)[])[],
    n: number,
    report: DatasetEvaluationOptions['onProgress'],
  ) {
    this.#report = report;
    this.#n = n;
    this.#total = tallies.reduce((sum, { length }) => sum + length, 0);
    for (const set of tallies) for (const tally of set) if (tally) this.#count(tally);
    this.#tell();
  }

  of(chunk: Chunk): (responses: number, tokens: number) => void {
    return (responses, tokens) => {
      this.#running.set(chunk, { responses, tokens });
      this.#tell();
    };
  }

  done(chunk: Chunk, tallies: readonly Tally[]): void {
    this.#tokens += this.#running.get(chunk)?.tokens ?? 0;
    this.#running.delete(chunk);
    for (const tally of tallies) this.#count(tally);
    this.#tell();
  }

  #count({ correct }: Tally): void {
    this.#problems++;
    this.#correct += correct;
  }

  #tell(): void {
    const running = [...this.#running.values()];
    const judged = this.#problems * this.#n;
    this.#report?.({
      problems: this.#problems,
      totalProblems: this.#total,
      responses: running.reduce((sum, { responses }) => sum + responses, judged),
      totalResponses: this.#total * this.#n,
      tokens: running.reduce((sum, { tokens }) => sum + tokens, this.#tokens),
      averageAtN: judged === 0 ? undefined : this.#correct / judged,
    });
  }
}
