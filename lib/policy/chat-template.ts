// Conversations as text: the Jinja templates of models.
import { withinDeadline } from '../base/deadline.js';
import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { checkBoolean, checkList, checkOptions, checkString, describe } from '../base/options.js';
import { quoted } from '../base/text.js';
import { clockTime } from './clock.js';
import { Template, TemplateError } from './jinja/template.js';

/** One message of a conversation, as templates read it. */
export interface ChatMessage {
  /** 'system', 'user', 'assistant', or another role that the template knows. */
  role: string;
  /** A text, or another value that the template understands. */
  content: unknown;
  [key: string]: unknown;
}

/** Options of Tokenizer.applyChatTemplate and Tokenizer.encodeChat. */
export interface ChatOptions {
  /** Ends with the head of the assistant's answer. Default false, as in transformers. */
  addGenerationPrompt?: boolean | undefined;
  /** Name of the template, if the model has several. Default: 'default'; with tools 'tool_use', if there is one. */
  template?: string | undefined;
  /** Functions that the model may call, as JSON schemas. */
  tools?: readonly object[] | undefined;
  /** Other variables of the template, such as enable_thinking. */
  variables?: Readonly<Record<string, unknown>> | undefined;
  /**
   * The local date, or date and time, that strftime_now tells: '2026-07-26' or '2026-07-26T12:30:00'. Default: the
   * tokenizer's clock.
   */
  clock?: string | undefined;
}

const KNOWN = ['addGenerationPrompt', 'template', 'tools', 'variables', 'clock'];
/** The names under which a message may have its reasoning. */
const REASONING = ['reasoning_content', 'thinking', 'reasoning'];
/** Longest template in characters. The largest of real models have about 20 kB. */
const MAX_TEMPLATE = 1 << 20;
/** Milliseconds to parse a template, or to render it. Each usually takes one. */
const DEADLINE = 1000;

/** The templates of a tokenizer. Each is parsed at its first use. */
export class ChatTemplates {
  readonly #sources: ReadonlyMap<string, string>;
  readonly #parsed = new Map<string, Template>();
  readonly #special: Readonly<Record<string, string>>;

  /**
   * @param source the contents of chat_template: one template, or a list of named ones
   * @param special the tokens that templates may name
   */
  constructor(source: unknown, special: Readonly<Record<string, string>>) {
    this.#special = special;
    const list: unknown[] =
      typeof source === 'string' ? [{ name: 'default', template: source }] : Array.isArray(source) ? source : [];
    if (source !== undefined && source !== null && list.length === 0)
      throw new PrlError('ERR_PRL_CORRUPT', 'chat_template must be a template or a list of named templates');
    const sources = new Map<string, string>();
    for (const entry of list) {
      const { name, template } = (entry ?? {}) as { name?: unknown; template?: unknown };
      if (typeof name !== 'string' || typeof template !== 'string' || template.length > MAX_TEMPLATE)
        throw new PrlError('ERR_PRL_CORRUPT', `chat_template has the invalid entry ${quoted(entry)}`);
      sources.set(name, template);
    }
    this.#sources = sources;
  }

  get names(): string[] {
    return [...this.#sources.keys()];
  }

  /** Whether a template may tell the date. */
  get readsClock(): boolean {
    return [...this.#sources.values()].some((source) => source.includes('strftime_now'));
  }

  /** @param clock the clock of the tokenizer */
  render(messages: readonly ChatMessage[], options: ChatOptions, clock: string): string {
    options = checkOptions('applyChatTemplate', options, KNOWN);
    const { tools, variables } = options;
    const now = clockTime('clock', options.clock ?? clock);
    const addGenerationPrompt = checkBoolean('addGenerationPrompt', options.addGenerationPrompt ?? false);
    for (const [i, message] of checkList('messages', messages).entries())
      if (typeof (message as ChatMessage | undefined)?.role !== 'string')
        throw invalidArgument(`messages[${i}] must be an object with a role and a content, not ${describe(message)}`);
    const { name, template } = this.#template(options);
    // A template's loop over an object that only has a length could not be stopped.
    const values = {
      messages: (wholeCopy('messages', messages) as ChatMessage[]).map(normalMessage),
      tools: wholeCopy('tools', tools) ?? null,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
      ...this.#special,
      ...(wholeCopy('variables', variables) as object | undefined),
    };
    try {
      return withinDeadline(DEADLINE, `the chat template '${name}'`, () => template.render(values, now));
    } catch (cause) {
      // This also catches a recursion that is too deep: macros may call themselves.
      throw templateError(`the chat template '${name}' refuses these messages`, cause);
    }
  }

  #template({ template: wanted, tools }: ChatOptions): { name: string; template: Template } {
    if (this.#sources.size === 0) throw new PrlError('ERR_PRL_UNSUPPORTED', 'the model has no chat template');
    const name =
      wanted !== undefined
        ? checkString('template', wanted)
        : tools && this.#sources.has('tool_use')
          ? 'tool_use'
          : 'default';
    const source = this.#sources.get(name);
    if (source === undefined)
      throw outOfRange(`template must be one of ${this.names.map((n) => `'${n}'`).join(', ')}, not '${name}'`);
    let template = this.#parsed.get(name);
    if (!template) {
      try {
        template = withinDeadline(DEADLINE, `reading the chat template '${name}'`, () => new Template(source));
      } catch (cause) {
        throw templateError(`the chat template '${name}' cannot be read`, cause);
      }
      this.#parsed.set(name, template);
    }
    return { name, template };
  }
}

/** A message as transformers 5 passes it: without nulls, its reasoning under the names that templates read. */
function normalMessage(message: ChatMessage): ChatMessage {
  const whole = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null)) as ChatMessage;
  const name = REASONING.find((each) => whole[each] !== undefined);
  return name === undefined ? whole : { thinking: whole[name], ...whole, reasoning_content: whole[name] };
}

/** A copy without holes in lists and without endless nesting, as in JSON. */
function wholeCopy(name: string, value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth > 100) throw invalidArgument(`${name} is nested more than 100 deep`);
  if (!Array.isArray(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, wholeCopy(`${name}.${key}`, item, depth + 1)]),
    );
  const items: unknown[] = [];
  for (let i = 0; i < value.length; i++) {
    if (!(i in value)) throw invalidArgument(`${name}[${i}] is missing`);
    items.push(wholeCopy(`${name}[${i}]`, value[i], depth + 1));
  }
  return items;
}

const templateError = (what: string, cause: unknown) =>
  cause instanceof PrlError && !(cause instanceof TemplateError)
    ? cause
    : new PrlError('ERR_PRL_TEMPLATE', `${what}: ${(cause as Error).message}`, { cause });
