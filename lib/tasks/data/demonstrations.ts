// Files of demonstrations for supervised fine-tuning, as token ids. Rows and options are TRL's.
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { invalidArgument, PrlError } from '../../base/errors.js';
import { isObject } from '../../base/json.js';
import { badRow } from '../../base/lines.js';
import { checkBoolean, checkChoice, checkInteger, checkOptions, checkSignal, checkText } from '../../base/options.js';
import { joined } from '../../base/packed.js';
import type { ChatMessage } from '../../policy/chat-template.js';
import { checkTokenizer, type Tokenizer } from '../../policy/tokenizer.js';
import type { Demonstration } from './demonstration.js';
import type { DatasetReport } from './load.js';
import { checkPrompt, type PromptEncoder, type PromptOptions, promptEncoder } from './prompt.js';
import type { RawRow } from './raw-row.js';
import { readRows, unusableRow } from './rows.js';
import { resolveSources, SOURCE_OPTIONS, type SourceOptions } from './source.js';

/** Options of {@link loadDemonstrations}. */
export interface DemonstrationOptions extends SourceOptions, PromptOptions {
  /** The tokenizer of the model to train. */
  tokenizer: Tokenizer;
  /** Name in messages and reports. Default: the source. */
  name?: string | undefined;
  /** Field of the prompt: a text, or a list of messages. Default 'prompt'. */
  promptField?: string | undefined;
  /** Field of the completion: a text, or a list of messages. Default 'completion'. */
  completionField?: string | undefined;
  /** Field of a whole conversation, a list of messages. Default 'messages'. */
  messagesField?: string | undefined;
  /** Field of a plain text. Default 'text'. */
  textField?: string | undefined;
  /** Longest sequence in tokens. Longer ones lose their end. Default 1024. */
  maxLength?: number | undefined;
  /** Rows with a prompt: learns the completion only. Default true. */
  completionOnlyLoss?: boolean | undefined;
  /**
   * Conversations: learns the assistant's turns only, all of them. Default true. (TRL's default is false: there the
   * template must mark the turns.)
   */
  assistantOnlyLoss?: boolean | undefined;
  /** What to do with rows that cannot be used: not JSON, a field missing. Default 'error'. */
  onInvalid?: 'error' | 'drop' | undefined;
  /** Called from time to time with the rows read and kept. */
  onProgress?: ((progress: Pick<DatasetReport, 'rows' | 'kept'>) => void) | undefined;
}

/** Demonstrations that were read, and a report on the rows. */
export interface Demonstrations {
  /** Name in messages and reports. */
  readonly name: string;
  /** In the order of the rows. */
  readonly demonstrations: readonly Demonstration[];
  /** SHA-256 of the token ids in their order, and of which are learned. */
  readonly fingerprint: string;
  /** How many rows were kept and dropped. */
  readonly report: DatasetReport & {
    /** Rows that lost their end to maxLength. */
    truncated: number;
  };
}

const FIELDS = ['promptField', 'completionField', 'messagesField', 'textField'] as const;
const KNOWN = [
  ...['tokenizer', 'name', ...FIELDS, 'maxLength', 'completionOnlyLoss', 'assistantOnlyLoss', 'onInvalid'],
  ...['onProgress', 'promptTemplate', 'systemPrompt', 'chat', ...SOURCE_OPTIONS],
];
const MAX_LENGTH = 1024;
/** Rows between two turns of the event loop. */
const TURN = 64;

/**
 * Reads demonstrations. A source is as in loadDataset. Rows have one of three forms, which the names of the first row
 * decide:
 *
 * - `messages`: a conversation. The model's chat template makes the text.
 * - `prompt` and `completion`: texts, or lists of messages. `promptTemplate` frames the prompt as in loadDataset
 *   (default: as it stands), so that the model learns to answer the prompts that reinforcement learning will show it.
 * - `text`: any text, learned from its second token on.
 *
 * The end-of-sequence token is added to texts. A chat template brings its own.
 *
 * @throws TypeError if the first row has none of these fields
 * @throws PrlError ERR_PRL_CORRUPT that names file and line, for a row that cannot be used (unless `onInvalid` is
 *   'drop'); an error of the hub, as downloadFiles
 */
export async function loadDemonstrations(
  source: string | readonly string[],
  options: DemonstrationOptions,
): Promise<Demonstrations> {
  options = check(options);
  const { signal, onProgress, onInvalid, maxLength = MAX_LENGTH } = options;
  const files = await resolveSources(source, options);
  const name = options.name ?? [source].flat().join(', ');
  const report: Demonstrations['report'] = { rows: 0, kept: 0, dropped: {}, conflicting: 0, truncated: 0 };
  const demonstrations: Demonstration[] = [];
  const hash = createHash('sha256');
  const drop = (reason: string, where: string) => {
    const entry = (report.dropped[reason] ??= { count: 0, first: where });
    entry.count++;
  };
  for (const file of files) {
    let encode: RowEncoder | undefined;
    const rows = readRows(file, (names) => {
      const form = formOf(names, options, file.path);
      encode = rowEncoder(form, options);
      return form.fields;
    });
    for await (const item of rows) {
      report.rows++;
      try {
        if ('error' in item) throw item.error;
        const whole = encode!(item.row);
        const cut = truncated(whole, maxLength);
        if (cut !== whole) report.truncated++;
        if (cut === undefined) drop('nothing to learn within maxLength', item.where);
        else {
          demonstrations.push(cut);
          report.kept++;
          for (const part of [cut.prompt, cut.completion, cut.mask ?? NONE])
            hash.update(`${part.length}:`).update(part);
        }
      } catch (error) {
        const cause = 'error' in item ? item.error : badRow(item.where, (error as Error).message, error);
        if (onInvalid !== 'drop') throw unusableRow(cause);
        drop('invalid', item.where);
      }
      if (report.rows % TURN !== 0) continue;
      await setImmediate();
      if (signal?.aborted)
        throw new PrlError('ERR_PRL_ABORTED', `reading ${file.path} was aborted`, { cause: signal.reason });
      onProgress?.(report);
    }
  }
  if (demonstrations.length === 0) throw new PrlError('ERR_PRL_CORRUPT', `${name} has no usable demonstration`);
  return { name, demonstrations, report, fingerprint: hash.digest('hex') };
}
const NONE = new Int32Array(0);

function check(options: DemonstrationOptions): DemonstrationOptions {
  options = checkOptions('loadDemonstrations', options, KNOWN);
  checkTokenizer(options.tokenizer);
  for (const name of ['name', ...FIELDS] as const)
    if (options[name] !== undefined) checkText(name, options[name], 'the name of a field');
  if (options.maxLength !== undefined) checkInteger('maxLength', options.maxLength, 2);
  for (const name of ['completionOnlyLoss', 'assistantOnlyLoss'] as const)
    if (options[name] !== undefined) checkBoolean(name, options[name]);
  if (options.onInvalid !== undefined) checkChoice('onInvalid', options.onInvalid, ['error', 'drop']);
  checkSignal(options.signal);
  checkPrompt(options);
  return options;
}

type Form =
  | { kind: 'messages'; fields: [messages: string] }
  | { kind: 'pair'; fields: [prompt: string, completion: string] }
  | { kind: 'text'; fields: [text: string] };

/** The form of the rows: of the fields that the options name, or else of the first usual ones. */
function formOf(names: readonly string[], options: DemonstrationOptions, file: string): Form {
  const { promptField, completionField, messagesField, textField } = options;
  const pair: [string, string] = [promptField ?? 'prompt', completionField ?? 'completion'];
  const forms: [asked: boolean, form: Form][] = [
    [messagesField !== undefined, { kind: 'messages', fields: [messagesField ?? 'messages'] }],
    [promptField !== undefined || completionField !== undefined, { kind: 'pair', fields: pair }],
    [textField !== undefined, { kind: 'text', fields: [textField ?? 'text'] }],
  ];
  const asked = forms.filter(([given]) => given);
  if (asked.length > 1)
    throw invalidArgument(
      'messagesField, textField and the pair of promptField and completionField exclude each other',
    );
  const found = (asked.length > 0 ? asked : forms).find(([, { fields }]) =>
    fields.every((name) => names.includes(name)),
  );
  if (found) return found[1];
  const wanted = (asked.length > 0 ? asked : forms).map(([, { fields }]) => fields.join(' and '));
  throw invalidArgument(
    `${file} has no field ${wanted.join(', nor ')}: its fields are ${names.slice(0, 20).join(', ')}. promptField and completionField, messagesField or textField name those to use`,
  );
}

/** @throws Error that says what is wrong with the row, without the place */
type RowEncoder = (row: RawRow) => Demonstration;

function rowEncoder({ kind, fields }: Form, options: DemonstrationOptions): RowEncoder {
  const { tokenizer, completionOnlyLoss = true, assistantOnlyLoss = true } = options;
  if (kind === 'messages') return (row) => ofConversation(messagesIn(row, fields[0]), tokenizer, assistantOnlyLoss);
  if (kind === 'text') return (row) => ofText(textIn(row, fields[0]), tokenizer);
  let frame: PromptEncoder | undefined;
  return (row) => {
    const [prompt, completion] = fields.map((field) => row[field]);
    if (Array.isArray(prompt) || Array.isArray(completion)) {
      const before = messagesIn(row, fields[0]);
      const after = Array.isArray(completion)
        ? messagesIn(row, fields[1])
        : [{ role: 'assistant', content: textIn(row, fields[1]) }];
      return learned(completionAfter(before, after, tokenizer), completionOnlyLoss);
    }
    frame ??= promptEncoder(tokenizer, { promptTemplate: 'none', ...given(options) });
    const problem = { prompt: textIn(row, fields[0]) };
    const text = textIn(row, fields[1]);
    const messages = frame.messages?.(problem);
    const demonstration = messages
      ? completionAfter(messages, [{ role: 'assistant', content: text }], tokenizer)
      : textAfter(frame, problem, text, tokenizer);
    return learned(demonstration, completionOnlyLoss);
  };
}

/** The prompt options that are set. */
const given = ({ promptTemplate, systemPrompt, chat }: PromptOptions): PromptOptions =>
  Object.fromEntries(Object.entries({ promptTemplate, systemPrompt, chat }).filter(([, value]) => value !== undefined));

function textIn(row: RawRow, field: string): string {
  const value = Object.hasOwn(row, field) ? row[field] : undefined;
  if (typeof value !== 'string' || value === '')
    throw new Error(`'${field}' ${value === undefined ? 'is missing' : 'must be a text that is not empty'}`);
  return value;
}

function messagesIn(row: RawRow, field: string): ChatMessage[] {
  const value = Object.hasOwn(row, field) ? row[field] : undefined;
  const isMessage = (each: unknown) => isObject(each) && typeof each.role === 'string';
  if (!Array.isArray(value) || value.length === 0 || !value.every(isMessage))
    throw new Error(
      `'${field}' ${value === undefined ? 'is missing' : 'must be a list of messages, each with a role'}`,
    );
  return value as ChatMessage[];
}

const startsWith = (whole: Int32Array, head: Int32Array) =>
  head.length <= whole.length && head.every((id, i) => whole[i] === id);

/** The ids of `whole` after `head`: of the joint text, if that keeps the head's ids; else of the rest alone. */
function continuation(
  tokenizer: Tokenizer,
  head: Int32Array,
  whole: string,
  rest: string,
  special: boolean,
): Int32Array {
  const joint = tokenizer.encode(whole, { addSpecialTokens: special });
  return startsWith(joint, head) ? joint.slice(head.length) : tokenizer.encode(rest);
}

const withEnd = (ids: Int32Array, { eosTokenId }: Tokenizer): Int32Array =>
  ids.at(-1) === eosTokenId ? ids : joined(ids, [eosTokenId]);

function ofText(text: string, tokenizer: Tokenizer): Demonstration {
  const ids = withEnd(tokenizer.encode(text, { addSpecialTokens: true }), tokenizer);
  if (ids.length < 2) throw new Error('the text has no token after the first');
  return { prompt: ids.slice(0, 1), completion: ids.slice(1) };
}

function textAfter(
  frame: PromptEncoder,
  problem: { prompt: string },
  text: string,
  tokenizer: Tokenizer,
): Demonstration {
  const prompt = frame.encode(problem);
  if (prompt.length === 0) throw new Error('the prompt has no token');
  const completion = continuation(tokenizer, prompt, `${frame.text(problem)}${text}`, text, true);
  return { prompt, completion: withEnd(completion, tokenizer) };
}

/** Messages that are read, and messages that answer them. */
function completionAfter(before: ChatMessage[], after: ChatMessage[], tokenizer: Tokenizer): Demonstration {
  const addGenerationPrompt = after[0].role === 'assistant';
  const head = tokenizer.applyChatTemplate(before, { addGenerationPrompt });
  const whole = tokenizer.applyChatTemplate([...before, ...after]);
  if (!whole.startsWith(head)) throw new Error(`the chat template does not begin the answer as it begins a prompt`);
  const prompt = tokenizer.encode(head);
  return { prompt, completion: continuation(tokenizer, prompt, whole, whole.slice(head.length), false) };
}

/** A conversation, of which the assistant's turns are learned, or everything. */
function ofConversation(messages: ChatMessage[], tokenizer: Tokenizer, assistantOnly: boolean): Demonstration {
  const whole = tokenizer.applyChatTemplate(messages);
  const all = tokenizer.encode(whole);
  if (all.length < 2) throw new Error('the conversation has no token after the first');
  if (!assistantOnly) return { prompt: all.slice(0, 1), completion: all.slice(1) };
  // Texts, in turn read and learned.
  const cuts: number[] = [];
  for (const [i, { role }] of messages.entries()) {
    if (role !== 'assistant') continue;
    const head = tokenizer.applyChatTemplate(messages.slice(0, i), { addGenerationPrompt: true });
    const turn = tokenizer.applyChatTemplate(messages.slice(0, i + 1));
    if (!whole.startsWith(head) || !whole.startsWith(turn) || turn.length < head.length)
      throw new Error(
        `the chat template writes message ${i + 1} in another way when messages follow it, so its tokens cannot be found. Use rows of a prompt and a completion, or no assistantOnlyLoss`,
      );
    cuts.push(head.length, turn.length);
  }
  if (cuts.length === 0) throw new Error('the conversation has no message of the assistant to learn');
  const texts = cuts.map((end, i) => whole.slice(cuts[i - 1] ?? 0, end));
  let ids = texts.map((text) => tokenizer.encode(text));
  // Ids of the joint text, if it can be cut at the same places.
  const ends = cuts.map((end) => tokenizer.encode(whole.slice(0, end)));
  if (ends.every((head) => startsWith(all, head)))
    ids = ends.map((head, i) => all.slice(ends[i - 1]?.length ?? 0, head.length));
  const completion = Int32Array.from(ids.slice(1).flatMap((part) => [...part]));
  const mask = Int32Array.from(ids.slice(1).flatMap((part, i) => Array<number>(part.length).fill(1 - (i % 2))));
  if (ids[0].length === 0)
    throw new Error('the conversation begins with the assistant: nothing precedes its first token');
  return mask.every((each) => each === 1) ? { prompt: ids[0], completion } : { prompt: ids[0], completion, mask };
}

/** Without completionOnlyLoss the prompt is learned too, from its second token on. */
function learned({ prompt, completion }: Demonstration, completionOnly: boolean): Demonstration {
  if (completionOnly) return { prompt, completion };
  const ids = joined(prompt, completion);
  return { prompt: ids.slice(0, 1), completion: ids.slice(1) };
}

/** At most maxLength tokens; undefined if none of them is learned. */
function truncated(demonstration: Demonstration, maxLength: number): Demonstration | undefined {
  const { prompt, completion, mask } = demonstration;
  const room = maxLength - prompt.length;
  if (completion.length > room) {
    const own = mask?.slice(0, Math.max(0, room));
    if (room < 1 || own?.every((each) => each === 0)) return undefined;
    return { prompt, completion: completion.slice(0, room), ...(own && { mask: own }) };
  }
  return demonstration;
}
