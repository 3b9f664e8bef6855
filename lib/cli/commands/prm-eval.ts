import { writeFileAtomic } from '../../base/atomic.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { readPrmData } from '../../prm/data.js';
import { evaluatePrm } from '../../prm/evaluate.js';
import { QuantilePrm } from '../../prm/quantile-prm.js';
import type { Command } from '../kit/args.js';
import { evaluationText } from '../prm/evaluation.js';

const OPTIONS = {
  prm: { type: 'string', doc: 'Folder of a process reward model' },
  data: {
    type: 'string',
    doc: 'File of prl prm collect; of the data that the model was trained on, only held-out problems count',
  },
  quantile: { type: 'number', doc: "Quantile that is the score (default: the model's)" },
  output: { type: 'string', doc: 'Write all figures to this JSON file' },
  json: { type: 'boolean', doc: 'Print JSON' },
} as const satisfies OptionTable;

export const prmEvalCommand: Command = {
  name: 'prm eval',
  summary: 'Measures how well a process reward model predicts, after each step, whether the response ends right.',
  groups: [{ title: 'Options', options: OPTIONS }],
  required: ['prm', 'data'],
  examples: [['prl prm eval --prm prm --data test.jsonl', 'Coverage, Brier score, AUC and a calibration plot']],
  async run(values) {
    const { prm: folder, data: file, quantile, output, json } = resolveOptions('prl prm eval', OPTIONS, values);
    const prm = await QuantilePrm.load(folder!, { quantile });
    const result = await evaluatePrm(prm, await readPrmData(file!));
    const text = JSON.stringify(result, null, 2);
    if (output !== undefined) await writeFileAtomic(output, `${text}\n`);
    console.log(json ? text : evaluationText(result));
    return 0;
  },
};
