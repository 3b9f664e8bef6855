// prl eval --data: a table over datasets, from a model, servers, or a file of responses.
import { existsSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { writeFileAtomic } from '../../base/atomic.js';
import { invalidArgument } from '../../base/errors.js';
import { type DatasetEvaluation, evaluateDatasets } from '../../eval/datasets.js';
import type { EvaluationRates, SetFigures } from '../../eval/table.js';
import type { DatasetEvaluationOptions, EvaluationSet } from '../../eval/types.js';
import { resolveTokenizer } from '../../hub/resolve.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { describeReport, loadDataset } from '../../tasks/data/load.js';
import { mathVerifier } from '../../tasks/verify/math.js';
import { exactVerifier, numericVerifier, regexVerifier } from '../../tasks/verify/simple.js';
import type { Verifier } from '../../tasks/verify/verifier.js';
import { kebab } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { modelFolder, weightsHash } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';
import { rolloutEngineOf } from '../kit/rollout.js';
import { table } from '../kit/summary.js';
import type { EvalOptions } from './eval-options.js';

export async function evalData(options: EvalOptions): Promise<number> {
  const { records, resume, output, json } = options;
  if (resume && records === undefined) throw invalidArgument('--resume needs --records, the file to go on with');
  const interrupt = new Interrupt();
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
    });
    progress?.stop();
    const text = JSON.stringify(result, null, 2);
    if (output !== undefined) await writeFileAtomic(output, `${text}\n`);
    console.log(json ? text : tableText(result));
    return 0;
  } catch (error) {
    progress?.stop();
    if (!interrupt.isCause(error)) throw error;
    console.error(
      records === undefined
        ? 'Nothing is saved: --records would keep what is done.'
        : `Saved ${done} problems. The same command with --resume goes on with them.`,
    );
    return interrupt.exitCode!;
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
    if (dataset.report.kept < dataset.report.rows) console.warn(`prl: ${name}: ${describeReport(dataset.report)}`);
    sets.push({ ...dataset, problems: dataset.problems.slice(0, problems) });
  }
  return sets;
}

/** Who responds, and who judges. */
async function respondent(
  options: EvalOptions,
  signal: AbortSignal,
): Promise<Omit<DatasetEvaluationOptions, 'sets' | 'records' | 'resume'>> {
  const { model, responses, records, verifier = 'math', extraction, promptTemplate, systemPrompt } = options;
  const { n, temperature, topK, topP, maxCompletionLength, seed, chunkSize } = options;
  const { rolloutUrl, rolloutEngine = 'vllm', rolloutModel } = options;
  const alone = rolloutUrl ? undefined : firstGiven({ rolloutEngine: options.rolloutEngine, rolloutModel });
  if (alone) throw invalidArgument(`--${kebab(alone)} needs --rollout-url, the servers`);
  const judge = {
    verifier: verifierOf(verifier, extraction),
    identity: { verifier, extraction: extraction ?? 'boxed' },
  };
  const sampling = { n, temperature, topK, topP, maxCompletionLength, seed, chunkSize };
  if (responses !== undefined) {
    const stray = firstGiven({ model, rolloutUrl, promptTemplate, systemPrompt });
    if (stray) throw invalidArgument(`--${kebab(stray)} does not go with --responses, which were made elsewhere`);
    return { ...judge, ...sampling, responses };
  }
  const identity = (model: string) => ({ ...judge.identity, model });
  if (rolloutUrl !== undefined) {
    const settings = { urls: rolloutUrl, engine: rolloutEngine, model: rolloutModel };
    const policy = rolloutEngineOf(settings, (message) => console.warn(`prl: ${message}`));
    const folder = await (existsSync(model!) ? modelFolder(model!) : resolveTokenizer(model!, { signal }));
    const tokenizer = await Tokenizer.load(folder);
    return { ...judge, ...sampling, policy, tokenizer, identity: identity(`${rolloutModel ?? model} of a server`) };
  }
  const folder = await modelFolder(model!, signal);
  const tokenizer = await Tokenizer.load(folder);
  const policy = await Policy.load(folder);
  // What is not written down is not compared.
  return {
    ...judge,
    ...sampling,
    policy,
    tokenizer,
    ...(records !== undefined && { identity: identity(await weightsHash(folder)) }),
  };
}

const firstGiven = (options: object) => Object.entries(options).find(([, value]) => value !== undefined)?.[0];

function verifierOf(name: NonNullable<EvalOptions['verifier']>, extraction: EvalOptions['extraction']): Verifier {
  switch (name) {
    case 'math':
      return mathVerifier({ extraction });
    case 'exact':
      return exactVerifier({ extraction });
    case 'numeric':
      return numericVerifier({ extraction });
    default:
      if (extraction !== undefined) throw invalidArgument('--extraction does not go with the verifier regex');
      return regexVerifier();
  }
}

const percent = (share: number) => (100 * share).toFixed(1);
const cell = (value: number, [low, high]: [number, number]) => `${percent(value)} [${percent(low)}, ${percent(high)}]`;

/** As in the papers: a column per set, and their averages. */
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
