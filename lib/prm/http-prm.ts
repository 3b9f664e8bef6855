import { mapConcurrently } from '../base/concurrency.js';
import { invalidArgument, PrlError } from '../base/errors.js';
import { checkHeaders, checkRetries, checkUrl, postJson } from '../base/http.js';
import { checkBoolean, checkChoice, checkInteger, checkOptions, checkString, checkText } from '../base/options.js';
import { shorten } from '../base/text.js';
import { checkTokenizer, type Tokenizer } from '../policy/tokenizer.js';
import { ofResponse } from './failure.js';
import { markSteps, withoutMarks } from './marks.js';
import type { ProcessRewardModel, StepBatch, StepScores } from './process-reward-model.js';
import { checkStepBatch } from './step-batch.js';
import { joinScores, responsesOf, type TextResponse } from './step-texts.js';

/** Options of {@link HttpPrm}. */
export interface HttpPrmOptions {
  /** Address of the server, such as http://localhost:8000. A path before the endpoint's is kept. */
  url: string;
  /**
   * 'pooling' (default): one request per response, with `separator` after each step. The server returns a score, or
   * class probabilities, for each separator (vLLM's step pooling). 'classify': one request per response, with the text
   * up to the end of each step. The server returns class probabilities for each. Texts begin with the bare problem and
   * a line break; the break is left out where the policy continues the problem's last line.
   */
  endpoint?: 'pooling' | 'classify' | undefined;
  /** The policy's tokenizer, which decodes the text. */
  tokenizer: Tokenizer;
  /** Name of the served model. Default: none is sent. */
  model?: string | undefined;
  /** For 'pooling': the text after each step that the model was trained on. Default '<extra_0>' (Qwen2.5-Math-PRM). */
  separator?: string | undefined;
  /**
   * For 'pooling': sends the policy's messages and the response as the assistant's, which the server renders with the
   * model's chat template. Qwen2.5-Math-PRM was trained so. Default false: text.
   */
  chat?: boolean | undefined;
  /** Index of the class that means a right step. Default: the last one. */
  positiveClass?: number | undefined;
  /** Headers of each request, such as an authorization. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Requests in flight. Default 8. */
  concurrency?: number | undefined;
  /** Milliseconds of one attempt. Default 60000. */
  timeout?: number | undefined;
  /** Attempts after the first, when the server was not reached, was late, or answered 429 or 5xx. Default 5. */
  retries?: number | undefined;
  /** Milliseconds before the first of these attempts, about. They double each time. Default 500. */
  retryDelay?: number | undefined;
}

const KNOWN = [
  ...['url', 'endpoint', 'tokenizer', 'model', 'separator', 'chat', 'positiveClass', 'headers'],
  ...['concurrency', 'timeout', 'retries', 'retryDelay'],
];

/** A process reward model behind vLLM's POST /pooling or /classify, or a server that answers like them. */
export class HttpPrm implements ProcessRewardModel {
  readonly name: string;
  readonly #url: string;
  readonly #options: ReturnType<typeof resolve>;

  constructor(options: HttpPrmOptions) {
    options = checkOptions('HttpPrm', options, KNOWN);
    this.#options = resolve(options);
    this.#url = `${this.#options.base}/${this.#options.endpoint}`;
    this.name = `the process reward model at ${this.#url}`;
  }

  /**
   * Scores every step of the batch. Separators and control tokens of chat templates, such as <|im_end|>, are removed
   * from prompts and responses: the model would read them as marks.
   *
   * @throws PrlError ERR_PRL_REWARD_MODEL for a wrong answer of the server; it names the response
   */
  async score(batch: StepBatch): Promise<StepScores> {
    const checked = checkStepBatch(batch);
    const { tokenizer, concurrency, headers, timeout, retries, retryDelay } = this.#options;
    const answers = await mapConcurrently(
      [...responsesOf(checked, tokenizer).entries()].filter(([, { steps }]) => steps.length > 0),
      concurrency,
      ([i, response], signal) =>
        ofResponse(this.name, i, signal, async () => {
          const request = { headers, timeout, retries, retryDelay, signal };
          return this.#read(await postJson(this.#url, this.#body(response), request), response);
        }),
      checked.signal,
    );
    return joinScores(answers);
  }

  #body({ before, messages, steps }: TextResponse): object {
    const { endpoint, model, separator, chat } = this.#options;
    if (endpoint === 'classify') {
      const problem = withoutMarks(before);
      return { model, input: steps.map((_, k) => problem + withoutMarks(steps.slice(0, k + 1).join(''))) };
    }
    // The server gives a score for every separator: only those between the steps may be there.
    const problem = withoutMarks(before, separator);
    if (!chat) return { model, input: problem + markSteps(steps, separator, problem) };
    const said = messages.map((message) => ({ ...message, content: contentWithoutMarks(message.content, separator) }));
    const whole = [...said, { role: 'assistant', content: markSteps(steps, separator) }];
    return { model, messages: whole, add_generation_prompt: false };
  }

  /** The scores in an answer: `data[0].data[step]` of 'pooling', `data[step].probs` of 'classify'. */
  #read(answer: unknown, { steps, tokens }: TextResponse): { scores: number[]; tokens: number } {
    const { endpoint } = this.#options;
    const { data, usage } = (answer ?? {}) as { data?: unknown; usage?: { prompt_tokens?: unknown } };
    const items = Array.isArray(data) ? data : this.#refuse('an array `data`', answer);
    const values = endpoint === 'pooling' ? items[0]?.data : byIndex(items).map((item) => item?.probs);
    if (!Array.isArray(values)) return this.#refuse('an array `data[0].data`', answer);
    if (values.length !== steps.length)
      return this.#refuse(`${steps.length} scores for ${steps.length} steps, not ${values.length}`, answer);
    const read = usage?.prompt_tokens;
    return { scores: values.map((value) => this.#scoreOf(value)), tokens: typeof read === 'number' ? read : tokens };
  }

  #scoreOf(value: unknown): number {
    const list = Array.isArray(value) ? value : [value];
    const score = list[this.#options.positiveClass ?? list.length - 1];
    if (typeof score === 'number' && score >= 0 && score <= 1) return score;
    return this.#refuse('probabilities in [0, 1]', value);
  }

  #refuse(expected: string, came: unknown): never {
    const text = JSON.stringify(came) ?? 'nothing';
    throw new PrlError(
      'ERR_PRL_REWARD_MODEL',
      `${this.#url} must answer with ${expected}. It answered ${shorten(text)}`,
    );
  }
}

/** The content of a message without marks: a text, or a list of parts that may have a text. */
function contentWithoutMarks(content: unknown, separator: string): unknown {
  if (typeof content === 'string') return withoutMarks(content, separator);
  if (!Array.isArray(content)) return content;
  return content.map((part) =>
    typeof part?.text === 'string' ? { ...part, text: withoutMarks(part.text, separator) } : part,
  );
}

/** The answer may be in any order if each item has its index. */
const byIndex = (items: { index?: number; probs?: unknown }[]) =>
  [...items].sort((a, b) => (a?.index ?? 0) - (b?.index ?? 0));

function resolve(options: HttpPrmOptions) {
  const { url, tokenizer, model, separator = '<extra_0>', chat = false, positiveClass, headers } = options;
  const base = checkUrl('url', url);
  checkTokenizer(tokenizer);
  checkText('separator', separator);
  if (model !== undefined) checkString('model', model);
  checkBoolean('chat', chat);
  checkHeaders(headers);
  const endpoint = checkChoice('endpoint', options.endpoint ?? 'pooling', ['pooling', 'classify']);
  if (endpoint === 'classify' && (options.chat || options.separator !== undefined))
    throw invalidArgument("chat and separator need endpoint 'pooling'");
  return {
    ...{ base, endpoint, tokenizer, model, separator, chat, headers },
    positiveClass: positiveClass === undefined ? undefined : checkInteger('positiveClass', positiveClass, 0, 1000),
    concurrency: checkInteger('concurrency', options.concurrency ?? 8, 1, 4096),
    ...checkRetries(options, 60_000),
  };
}
