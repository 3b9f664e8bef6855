// prl eval --data: a table over datasets, from a model, servers, or a file of responses.
import { existsSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import { type DatasetEvaluation, evaluateDatasets } from '../../eval/datasets.js';
import type { EvaluationRates, SetFigures } from '../../eval/table.js';
import type { DatasetEvaluationOptions, EvaluationSet } from '../../eval/types.js';
import { resolveTokenizer } from '../../hub/resolve.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { describeReport, loadDataset } from '../../tasks/data/load.js';
import { firstGiven } from '../kit/args.js';
import { setClock, verifierOf } from '../kit/dataset.js';
import type { Interrupt } from '../kit/interrupt.js';
import { modelFolder, weightsHash } from '../kit/model-folder.js';
import { withOptionsOfRun } from '../kit/model-run.js';
import { Progress } from '../kit/progress.js';
import { rolloutEngineOf } from '../kit/rollout.js';
import { table, withInterval } from '../kit/table.js';
import { warn } from '../kit/warn.js';
import type { EvalOptions, Evaluated } from './options.js';

export async function evaluateOnSets(given: EvalOptions, interrupt: Interrupt): Promise<Evaluated> {
  const options = given.model === undefined ? given : await withOptionsOfRun(given.model, given, warn);
  const { records, resume, json } = options;
  if (resume && records === undefined) throw invalidArgument('--resume needs --records, the file to resume');
  const { signal } = interrupt;
  let progress: Progress | undefined;
  let done = 0;
  try {
    const result = await evaluateDatasets({
      sets: await loadSets(options, signal),
      ...(await respondent(options, signal)),
      ...(records !== undefined && { records, resume }),
      signal,
      onProgress({ problems, responses, totalResponses, tokens, averageAtN }) {
        done = problems;
        progress ??= new Progress('eval', totalResponses, responses, json ? console.error : console.log);
        const rate = averageAtN === undefined ? '' : `, ${percent(averageAtN)}% right`;
        progress.update(responses, `${problems} problems${rate}${tokens > 0 ? `, ${tokens} tokens` : ''}`);
      },
    }).finally(() => progress?.stop());
    const text = JSON.stringify(result, null, 2);
    return { file: text, json: text, table: tableText(result) };
  } catch (error) {
    if (interrupt.isCause(error))
      console.error(
        records === undefined
          ? 'Nothing was saved. With --records, finished work is kept.'
          : `Saved ${done} problems. To resume, run the same command with --resume.`,
      );
    throw error;
  }
}

async function loadSets(options: EvalOptions, signal: AbortSignal): Promise<EvaluationSet[]> {
  const { data, problems, promptTemplate, systemPrompt, promptField, answerField, answerFrom, idField } = options;
  const { config, split = 'test', onInvalid } = options;
  const sets = [];
  for (const each of data!) {
    const [, named, path] = (!existsSync(each) && /^([^=]+)=(.+)$/s.exec(each)) || [each, undefined, each];
    const name = named ?? basename(path, extname(path));
    const fields = { promptField, answerField, answerFrom, idField };
    const source = { config, split, onInvalid, signal };
    const dataset = await loadDataset(path, { name, ...fields, ...source, promptTemplate, systemPrompt });
    if (dataset.report.kept < dataset.report.rows) warn(`${name}: ${describeReport(dataset.report)}`);
    sets.push({ ...dataset, problems: dataset.problems.slice(0, problems) });
  }
  return sets;
}

type Respondent = Omit<DatasetEvaluationOptions, 'sets' | 'records' | 'resume'>;

/** The source of responses, and the judge. */
async function respondent(options: EvalOptions, signal: AbortSignal): Promise<Respondent> {
  const { model, responses, verifier = 'math', extraction, promptTemplate, systemPrompt, clock } = options;
  const { n, temperature, topK, topP, maxCompletionLength, seed, chunkSize } = options;
  const { rolloutUrl, rolloutEngine, rolloutModel } = options;
  const alone = rolloutUrl ? undefined : firstGiven({ rolloutEngine, rolloutModel });
  if (alone) throw invalidArgument(`${alone} needs --rollout-url, the servers`);
  const judge = {
    verifier: verifierOf({ verifier, extraction }),
    identity: { verifier, extraction: extraction ?? 'boxed' },
  };
  const sampling = { n, temperature, topK, topP, maxCompletionLength, seed, chunkSize };
  if (responses !== undefined) {
    const stray = firstGiven({ model, rolloutUrl, promptTemplate, systemPrompt, clock });
    if (stray) throw invalidArgument(`${stray} cannot be used with --responses, which were made elsewhere`);
    return { ...judge, ...sampling, responses };
  }
  const { policy, tokenizer, mark } = await (rolloutUrl ? servers : local)(options, signal);
  if (clock !== undefined) setClock(tokenizer!, clock);
  const identity = { ...judge.identity, ...(mark && { model: mark }) };
  return { ...judge, ...sampling, policy, tokenizer, identity };
}

interface Model extends Pick<Respondent, 'policy' | 'tokenizer'> {
  /** Identifies the model in records. */
  mark: string | undefined;
}

async function servers(options: EvalOptions, signal: AbortSignal): Promise<Model> {
  const { model, rolloutUrl, rolloutEngine: engine = 'vllm', rolloutModel } = options;
  const policy = rolloutEngineOf({ urls: rolloutUrl!, engine, model: rolloutModel });
  const folder = await (existsSync(model!) ? modelFolder(model!) : resolveTokenizer(model!, { signal }));
  return { policy, tokenizer: await Tokenizer.load(folder), mark: `${rolloutModel ?? model} of a server` };
}

async function local({ model, extraTensors, records }: EvalOptions, signal: AbortSignal): Promise<Model> {
  const folder = await modelFolder(model!, signal);
  const tokenizer = await Tokenizer.load(folder);
  const policy = await Policy.load(folder, { extraTensors });
  return { policy, tokenizer, mark: records === undefined ? undefined : await weightsHash(folder) };
}

const percent = (share: number) => (100 * share).toFixed(1);
const cell = (value: number, interval: [number, number]) => withInterval(value, interval, percent);

/** A table as in the papers: a column per set, and the averages. */
function tableText({ n, sets, allProblems, meanOfSets }: DatasetEvaluation): string {
  const columns: (EvaluationRates & Partial<SetFigures>)[] =
    sets.length === 1 ? sets : [...sets, allProblems, { ...meanOfSets, name: 'mean of sets' }];
  const row = (label: string, value: (of: (typeof columns)[number]) => string | undefined) => [
    label,
    ...columns.map((column) => value(column) ?? ''),
  ];
  const share = (value: number | undefined) => (value === undefined ? undefined : percent(value));
  const [first] = columns;
  const rows = [
    row('% [95%]', ({ name }) => name),
    // pass@1 is average@n.
    row(`average@${n}`, ({ averageAtN, averageAtNInterval }) => cell(averageAtN, averageAtNInterval)),
    ...first.passAtK
      .slice(1)
      .map(({ k }, i) => row(`pass@${k}`, ({ passAtK }) => cell(passAtK[i + 1].value, passAtK[i + 1].interval))),
    ...(first.majAtN === undefined || n === 1
      ? []
      : [row(`maj@${n}`, ({ majAtN, majAtNInterval }) => cell(majAtN!, majAtNInterval!))]),
    row('problems', ({ problems }) => problems?.toString()),
    ...(first.answeredRatio === undefined ? [] : [row('with an answer', ({ answeredRatio }) => share(answeredRatio))]),
    row('cut off', ({ clippedRatio }) => share(clippedRatio)),
    ...(first.meanLength === undefined ? [] : [row('tokens', ({ meanLength }) => meanLength?.toFixed(1))]),
  ];
  return table(rows);
}
