import { type OptionTable, resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { readPrmData } from '../../prm/data.js';
import { evaluatePrm } from '../../prm/evaluate.js';
import { QuantilePrm } from '../../prm/quantile-prm.js';
import { PRM_TRAIN_OPTIONS, trainQuantilePrm } from '../../prm/train.js';
import { type Command, part, type Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { LOAD_OPTIONS, modelFolder, weightsHash } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';
import { warn } from '../kit/warn.js';
import { auc, verdict } from '../prm/evaluation.js';

const FILES = {
  model: { type: 'string', doc: 'Folder of the model that the data was collected with' },
  ...LOAD_OPTIONS,
  data: { type: 'string', doc: 'File of prl prm collect' },
  output: { type: 'string', doc: 'Folder to write; an existing process reward model is replaced' },
} as const satisfies OptionTable;

export const prmTrainCommand: Command = {
  name: 'prm train',
  summary:
    'Trains a head on the network of a policy. It predicts quantiles of the chance that a step leads to a right answer.',
  groups: [
    { title: 'Files', options: FILES },
    { title: 'Training', options: PRM_TRAIN_OPTIONS },
  ],
  required: ['model', 'data', 'output'],
  examples: [
    ['prl prm train --model runs/a/base --data a.jsonl --output prm', 'Train the head alone, in seconds'],
    ['prl train --model runs/a/base --method progrs --prm prm', 'Use the frozen model in training'],
  ],
  run: train,
};

async function train(values: Values): Promise<number> {
  const { model, data: file, output, extraTensors } = resolveOptions('prl prm train', FILES, part(values, FILES));
  const options = resolveOptions('prl prm train', PRM_TRAIN_OPTIONS, part(values, PRM_TRAIN_OPTIONS));
  await QuantilePrm.checkOutput(output!);
  const folder = await modelFolder(model!);
  const data = await readPrmData(file!);
  if (data.settings.model !== (await weightsHash(folder)))
    warn(
      `${file} was collected with another model than ${folder}: the head learns from the responses of that other model`,
    );
  const policy = await Policy.load(folder, { extraTensors });
  const tokenizer = await Tokenizer.load(folder).catch(() => undefined);
  const { signal } = new Interrupt();
  const progress = new Progress('prm', options.epochs);
  const trained = await trainQuantilePrm({
    policy,
    data,
    options,
    signal,
    onEpoch: ({ epoch, loss, heldOutLoss, best }) =>
      progress.update(
        epoch,
        `pinball ${loss.toFixed(4)}  held out ${heldOutLoss.toFixed(4)}  best ${best.heldOutLoss.toFixed(4)} (epoch ${best.epoch})`,
      ),
  }).finally(() => progress.stop());
  const { model: prm, epoch, heldOutLoss, steps } = trained;
  await prm.save(output!, async (backbone) => tokenizer?.save(backbone));
  progress.done(`epoch ${epoch}, held-out pinball ${heldOutLoss.toFixed(4)}, ${steps.train} + ${steps.heldOut} steps`);
  const result = await evaluatePrm(prm, data);
  console.log(`On held-out problems, AUC of the answer ${auc(result.aucLast)}. ${verdict(result).join(' ')}`);
  return 0;
}
