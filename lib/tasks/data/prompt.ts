import { closest } from 'fastest-levenshtein';
import { invalidArgument, outOfRange, PrlError } from '../../base/errors.js';
import { checkBoolean, checkString, describe } from '../../base/options.js';
import type { Tokenizer } from '../../policy/tokenizer.js';

/** What stands around a problem when the policy is given it. */
export interface PromptOptions {
  /** A preset's name, or a text of your own with {prompt} in it. Default: 'auto'. */
  promptTemplate?: string;
  /** System message of the chat, instead of the preset's. A row's own goes first. */
  systemPrompt?: string;
  /** Whether the template becomes the user's message in the model's chat template. Default: as the preset says; for a text of your own only with systemPrompt. */
  chat?: boolean;
}

interface Frame {
  doc: string;
  template: string;
  system?: string;
  chat: boolean;
}

const BOXED = 'Please reason step by step, and put your final answer within \\boxed{}.';

/** Prompts of the papers, by name. */
export const PROMPT_PRESETS = {
  // arXiv 2601.10201: the published training data has both a system message and an instruction after the problem.
  prl: {
    doc: "PRL's training prompt for Qwen and Llama: the system message of boxed, and an instruction after the problem",
    template: "{prompt} Let's think step by step and output the final answer within \\boxed{}.",
    system: BOXED,
    chat: true,
  },
  boxed: {
    doc: `system message '${BOXED}', the problem as it stands`,
    template: '{prompt}',
    system: BOXED,
    chat: true,
  },
  chat: { doc: 'the problem as the only message of a chat', template: '{prompt}', chat: true },
  question: {
    doc: "'Question: ...', then 'Answer:' in a line; no chat",
    template: 'Question: {prompt}\nAnswer:',
    chat: false,
  },
  none: { doc: 'the problem as it stands', template: '{prompt}', chat: false },
} as const satisfies Record<string, Frame>;

export const PROMPT_PRESET_NAMES = ['auto', ...Object.keys(PROMPT_PRESETS)];

/** Checks what can be checked without a tokenizer. */
export function checkPrompt({ promptTemplate = 'auto', systemPrompt, chat }: PromptOptions): void {
  checkString('promptTemplate', promptTemplate);
  if (!PROMPT_PRESET_NAMES.includes(promptTemplate)) checkTemplate(promptTemplate);
  if (systemPrompt !== undefined && (typeof systemPrompt !== 'string' || systemPrompt.trim() === ''))
    throw invalidArgument(`systemPrompt must be a text that is not empty, not ${describe(systemPrompt)}`);
  if (chat !== undefined) checkBoolean('chat', chat);
  if (systemPrompt !== undefined && chat === false)
    throw invalidArgument('systemPrompt is a message of a chat: it does not go with chat false');
}

/** A user's own template: {prompt} once, and nothing else that looks like something to fill in. */
function checkTemplate(template: string): void {
  // What follows a LaTeX command, or an argument of it, is its argument.
  const names = [...template.matchAll(/(?<!\\[A-Za-z]*|\})\{(\w+)\}/g)].map(([, name]) => name);
  const other = names.find((name) => name !== 'prompt');
  if (other !== undefined)
    throw outOfRange(`promptTemplate holds {${other}}: the one thing that is filled in is {prompt}`);
  if (names.length === 1) return;
  if (names.length === 0 && /^[\w-]*$/.test(template))
    throw outOfRange(
      `promptTemplate must be one of ${PROMPT_PRESET_NAMES.join(', ')}, or a text with {prompt} in it, not '${template}'. Did you mean '${closest(template, PROMPT_PRESET_NAMES)}'?`,
    );
  throw outOfRange(`promptTemplate must hold {prompt} once, not ${names.length} times: '${template}'`);
}

/** How the problems of a task become token ids. */
export interface PromptEncoder {
  encode(problem: { prompt: string; system?: string }): Int32Array;
  /** The template and system message that were settled on: with the tokenizer they decide what the policy is given. */
  description: { template: string; system?: string; chat: boolean };
}

/** @throws PrlError ERR_PRL_UNSUPPORTED where a chat is asked for and the tokenizer has no chat template */
export function promptEncoder(tokenizer: Tokenizer, options: PromptOptions): PromptEncoder {
  checkPrompt(options);
  const { promptTemplate = 'auto', systemPrompt } = options;
  const name =
    promptTemplate === 'auto'
      ? tokenizer.hasChatTemplate || systemPrompt !== undefined
        ? 'prl'
        : 'question'
      : promptTemplate;
  const preset: Frame | undefined = Object.hasOwn(PROMPT_PRESETS, name) ? PROMPT_PRESETS[name as 'prl'] : undefined;
  const { template } = preset ?? { template: name };
  const system = systemPrompt ?? preset?.system;
  const chat = options.chat ?? (systemPrompt !== undefined || (preset?.chat ?? false));
  if (chat && !tokenizer.hasChatTemplate)
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      `promptTemplate '${promptTemplate}' is a chat, but the tokenizer has no chat template: choose 'question' or 'none', or a text with {prompt}`,
    );
  const [before, after] = template.split('{prompt}');
  return {
    description: { template, ...(chat && system !== undefined && { system }), chat },
    encode({ prompt, system: own }) {
      const text = `${before}${prompt}${after}`;
      // What begins every text of a model, such as a begin-of-text token; a chat template has it itself.
      if (!chat) return tokenizer.encode(text, { addSpecialTokens: true });
      const message = own ?? system;
      const messages = [
        ...(message === undefined ? [] : [{ role: 'system', content: message }]),
        { role: 'user', content: text },
      ];
      return tokenizer.encodeChat(messages, { addGenerationPrompt: true });
    },
  };
}
