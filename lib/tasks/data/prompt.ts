import { closest } from 'fastest-levenshtein';
import { invalidArgument, outOfRange, PrlError } from '../../base/errors.js';
import { checkBoolean, checkString, describe } from '../../base/options.js';
import type { ChatMessage } from '../../policy/chat-template.js';
import type { Tokenizer } from '../../policy/tokenizer.js';
import { endsWithThink } from '../verify/verifier.js';

/** The text around a problem. */
export interface PromptOptions {
  /** Name of a preset, or a text of your own with {prompt} in it. Default 'auto'. */
  promptTemplate?: string | undefined;
  /** System message of the chat, instead of the preset's. A row's own comes first. */
  systemPrompt?: string | undefined;
  /**
   * Sends the template as the user message of the model's chat template. Default: as the preset says; for your own
   * text, true with systemPrompt.
   */
  chat?: boolean | undefined;
}

interface Frame {
  doc: string;
  template: string;
  system?: string;
  chat: boolean;
}

const BOXED = 'Please reason step by step, and put your final answer within \\boxed{}.';

/** The prompt presets, by name. They are the prompts of the papers. */
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
    doc: "'Question: ...', then a line with 'Answer:'; no chat",
    template: 'Question: {prompt}\nAnswer:',
    chat: false,
  },
  none: { doc: 'the problem as it stands', template: '{prompt}', chat: false },
} as const satisfies Record<string, Frame>;

export const PROMPT_PRESET_NAMES = ['auto', ...Object.keys(PROMPT_PRESETS)];

/** Checks everything that needs no tokenizer. */
export function checkPrompt({ promptTemplate = 'auto', systemPrompt, chat }: PromptOptions): void {
  checkString('promptTemplate', promptTemplate);
  if (!PROMPT_PRESET_NAMES.includes(promptTemplate)) checkTemplate(promptTemplate);
  if (systemPrompt !== undefined && (typeof systemPrompt !== 'string' || systemPrompt.trim() === ''))
    throw invalidArgument(`systemPrompt must be a non-empty text, not ${describe(systemPrompt)}`);
  if (chat !== undefined) checkBoolean('chat', chat);
  if (systemPrompt !== undefined && chat === false)
    throw invalidArgument('systemPrompt needs a chat: leave it out, or do not set chat to false');
}

/** A user's own template holds {prompt} once, and no other name in braces. */
function checkTemplate(template: string): void {
  // Braces after a LaTeX command, or after one of its arguments, hold an argument.
  const names = [...template.matchAll(/(?<!\\[A-Za-z]*|\})\{(\w+)\}/g)].map(([, name]) => name);
  const other = names.find((name) => name !== 'prompt');
  if (other !== undefined)
    throw outOfRange(`promptTemplate must hold {prompt} only, not {${other}}: nothing else is filled in`);
  if (names.length === 1) return;
  if (names.length === 0 && /^[\w-]*$/.test(template))
    throw outOfRange(
      `promptTemplate must be one of ${PROMPT_PRESET_NAMES.join(', ')}, or a text with {prompt} in it, not '${template}'. Did you mean '${closest(template, PROMPT_PRESET_NAMES)}'?`,
    );
  throw outOfRange(`promptTemplate must hold {prompt} once, not ${names.length} times: '${template}'`);
}

type FramedProblem = { prompt: string; system?: string };

/** Encodes the problems of a task as token ids. */
export interface PromptEncoder {
  encode(problem: FramedProblem): Int32Array;
  /** The text of a prompt that is no chat, or of the user's message. */
  text(problem: FramedProblem): string;
  /** The messages of a chat. Absent: the prompt is no chat. */
  messages?: (problem: FramedProblem) => ChatMessage[];
  /** Whether the prompts end with <think>; known from the first one that is encoded. */
  readonly thinking: boolean;
  /** The chosen template and system message. With the tokenizer they decide what the policy sees. */
  description: { template: string; system?: string; chat: boolean };
}

/** @throws PrlError ERR_PRL_UNSUPPORTED if a chat is asked for and the tokenizer has no chat template */
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
  const text = ({ prompt }: FramedProblem) => `${before}${prompt}${after}`;
  const messages = (problem: FramedProblem): ChatMessage[] => {
    const message = problem.system ?? system;
    return [
      ...(message === undefined ? [] : [{ role: 'system', content: message }]),
      { role: 'user', content: text(problem) },
    ];
  };
  // The tokens that begin every text of a model, such as a begin-of-text token, are in a chat template already.
  const encode = (problem: FramedProblem) =>
    chat
      ? tokenizer.encodeChat(messages(problem), { addGenerationPrompt: true })
      : tokenizer.encode(text(problem), { addSpecialTokens: true });
  let thinking: boolean | undefined;
  return {
    get thinking() {
      return thinking ?? false;
    },
    description: { template, ...(chat && system !== undefined && { system }), chat },
    text,
    ...(chat && { messages }),
    encode(problem) {
      const tokens = encode(problem);
      thinking ??= endsWithThink(tokenizer.decode(tokens.slice(-16)));
      return tokens;
    },
  };
}
