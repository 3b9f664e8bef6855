// Servers in the shapes that vLLM and SGLang publish, which sample nothing: tokens and log-probabilities follow from
// prompt and seed.
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

// biome-ignore lint/suspicious/noExplicitAny: a request's JSON
export type Body = any;
export interface Asked {
  path: string;
  body: Body;
  headers: IncomingMessage['headers'];
}
export interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
  /** Milliseconds. */
  delay?: number;
  /** Breaks the connection off instead, after so many characters of the answer. */
  hangUp?: number;
}

/** What the fakes say to a prompt: ids below 20, then the stop token 1 when it fits. */
export function completionOf(prompt: number[], seed: number, maxTokens: number) {
  const length = (prompt[0] + seed) % 4;
  const tokens = Array.from({ length }, (_, t) => 2 + ((prompt[prompt.length - 1] + seed + 3 * t) % 18));
  tokens.push(1);
  const kept = tokens.slice(0, maxTokens);
  return {
    tokens: kept,
    logProbs: kept.map((id, t) => -Math.fround((id + 1) / (t + 3))),
    finish: kept.length < tokens.length ? 'length' : 'stop',
  };
}

export function vllmAnswer({ prompt, n, seed, max_tokens }: Body, version?: string) {
  const choices = Array.from({ length: n }, (_, index) => {
    const { tokens, logProbs, finish } = completionOf(prompt, seed + index, max_tokens);
    return {
      index,
      text: '',
      logprobs: { text_offset: [], token_logprobs: logProbs, tokens: [], top_logprobs: [] },
      finish_reason: finish,
      stop_reason: finish === 'stop' ? 1 : null,
      token_ids: tokens,
      prompt_token_ids: prompt,
    };
  });
  // In the order of finishing.
  return {
    id: 'cmpl-1',
    object: 'text_completion',
    choices: choices.reverse(),
    ...(version && { weight_version: version }),
  };
}

export function sglangAnswer({ input_ids, sampling_params }: Body, version = 'default') {
  return input_ids.map((prompt: number[], i: number) => {
    const { tokens, logProbs, finish } = completionOf(
      prompt,
      sampling_params[i].sampling_seed,
      sampling_params[i].max_new_tokens,
    );
    return {
      text: '',
      output_ids: tokens,
      meta_info: {
        id: String(i),
        finish_reason: finish === 'stop' ? { type: 'stop', matched: 1 } : { type: 'length', length: tokens.length },
        prompt_tokens: prompt.length,
        completion_tokens: tokens.length,
        weight_version: version,
        output_token_logprobs: tokens.map((id, t) => [logProbs[t], id, null]),
      },
    };
  });
}

export interface Fake {
  url: string;
  asked: Asked[];
  /** The requests for completions among them. */
  prompts(): Body[];
  close(): Promise<void>;
}

/** A server of `respond`; what it leaves open (undefined) is answered as a server without weights to update would. */
export async function fakeServer(
  respond: (asked: Asked, n: number) => Answer | undefined | Promise<Answer | undefined>,
  port = 0,
): Promise<Fake> {
  const asked: Asked[] = [];
  const isPrompt = ({ path }: Asked) => path === '/v1/completions' || path === '/generate';
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const one = { path: request.url!, body: text === '' ? undefined : JSON.parse(text), headers: request.headers };
    asked.push(one);
    const usual: Answer =
      one.path === '/health'
        ? {}
        : one.path === '/v1/completions'
          ? { body: vllmAnswer(one.body) }
          : one.path === '/generate'
            ? { body: sglangAnswer(one.body) }
            : { status: 404, body: { detail: 'Not Found' } };
    const {
      status = 200,
      headers,
      body,
      delay = 0,
      hangUp,
    } = (await respond(one, asked.filter(isPrompt).length)) ?? usual;
    if (delay > 0) await new Promise((done) => setTimeout(done, delay).unref());
    const answer = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
    if (hangUp !== undefined) {
      response.writeHead(status, { 'content-length': Buffer.byteLength(answer) });
      response.write(answer.slice(0, hangUp), () => response.destroy());
      return;
    }
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(answer);
  });
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    prompts: () => asked.filter(isPrompt).map(({ body }) => body),
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
