import { type OptionTable, resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { PROMPT_PRESET_NAMES, type PromptOptions, promptEncoder } from '../../tasks/data/prompt.js';
import type { Command } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { LOAD_OPTIONS, modelFolder } from '../kit/model-folder.js';
import { withOptionsOfRun } from '../kit/model-run.js';
import { warn } from '../kit/warn.js';

const OPTIONS = {
  model: { type: 'string', doc: 'Folder of a model, or of a run (its newest checkpoint)' },
  ...LOAD_OPTIONS,
  prompt: {
    type: 'string',
    doc: "Text to continue, after the model's begin-of-text token if it has one; with a template, the problem",
  },
  promptTemplate: {
    type: 'string',
    doc: `Prompt template, the same as in prl train: ${PROMPT_PRESET_NAMES.join(', ')}, or a text with {prompt} (default: that of the model's run on a dataset, else none)`,
  },
  n: { type: 'integer', default: 1, min: 1, doc: 'Number of responses' },
  maxNewTokens: { type: 'integer', default: 96, min: 1, doc: 'Longest response in tokens' },
  temperature: { type: 'number', default: 1, min: 0, doc: 'Temperature of sampling; 0 is greedy' },
  topK: { type: 'integer', default: 0, min: 0, doc: 'Keep the k likeliest tokens (0: all)' },
  topP: { type: 'number', default: 1, above: 0, max: 1, doc: 'Keep the likeliest tokens up to this probability' },
  seed: { type: 'integer', default: 0, min: 0, max: 2 ** 31 - 1, doc: 'Seed of sampling' },
  json: { type: 'boolean', doc: 'Print JSON, with token ids and log-probabilities' },
} as const satisfies OptionTable;

export const generateCommand: Command = {
  name: 'generate',
  summary: 'Samples responses to a prompt.',
  groups: [{ title: 'Options', options: OPTIONS }],
  required: ['model', 'prompt'],
  examples: [
    ["prl generate --model runs/a --prompt '12+7-3='", 'One response of the newest checkpoint'],
    ["prl generate --model runs/sft --prompt 'What is 2 + 2?'", 'In the prompt template that the run was trained with'],
    ["prl generate --model runs/a/base --prompt '12+7-3=' --n 8 --json", 'Eight of the base, as JSON'],
  ],
  async run(values) {
    const given = resolveOptions('prl generate', OPTIONS, values);
    const { model, extraTensors, prompt, promptTemplate: template, n, json, ...options } = given;
    const framing: PromptOptions = { promptTemplate: template };
    const known = await withOptionsOfRun(model!, framing, warn, { judged: false });
    const folder = await modelFolder(model!);
    const [policy, tokenizer] = [await Policy.load(folder, { extraTensors }), await Tokenizer.load(folder)];
    const { promptTemplate = 'none', ...system } = known;
    const frame = promptEncoder(tokenizer, { promptTemplate, ...system });
    const problem = { prompt: prompt! };
    const { signal } = new Interrupt();
    const [{ completions }] = await policy.generate([frame.encode(problem)], {
      ...options,
      n,
      stop: [...tokenizer.stopTokenIds],
      signal,
    });
    const responses = completions.map(({ tokens, logProbs, finishReason }) => ({
      text: tokenizer.decode(tokens),
      finishReason,
      tokens: Array.from(tokens),
      logProbs: Array.from(logProbs),
    }));
    const shown = frame.messages ? '' : frame.text(problem);
    if (json) console.log(JSON.stringify(responses, null, 2));
    else
      for (const { text, finishReason } of responses)
        console.log(`${shown}${text}${finishReason === 'length' ? ' ...' : ''}\n`);
    return 0;
  },
};
