// A bare client of the Tinker protocol: fetch and the shared encodings.
import { forwardBackwardToJson } from '../../../lib/policy/tinker/wire/json.js';
import type { Datum } from '../../../lib/policy/tinker/wire/messages.js';

// biome-ignore lint/suspicious/noExplicitAny: an answer's JSON
export type Json = any;

export class TinkerClient {
  #seq = 0;
  model = '';
  session = '';

  constructor(
    readonly url: string,
    readonly headers: Record<string, string> = {},
  ) {}

  async raw(path: string, body?: unknown, headers: Record<string, string> = {}) {
    const answer = await fetch(`${this.url}/api/v1/${path}`, {
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...this.headers, ...headers },
      ...(body !== undefined && {
        method: 'POST',
        body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
      }),
    });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const isJson = answer.headers.get('content-type') === 'application/json' && bytes.length > 0;
    return {
      status: answer.status,
      bytes,
      body: (isJson ? JSON.parse(Buffer.from(bytes).toString()) : undefined) as Json,
    };
  }

  /** A request that is answered at once. */
  async post(path: string, body: unknown): Promise<Json> {
    const { status, body: answer } = await this.raw(path, body);
    if (status !== 200) throw new Error(`${status} ${answer?.error}`);
    return answer;
  }

  async result(request_id: string): Promise<Json> {
    for (;;) {
      const { status, body } = await this.raw('retrieve_future', { request_id });
      if (status === 408) continue;
      if (status !== 200 || body.error !== undefined) throw new Error(`${status} ${body.category}: ${body.error}`);
      return body;
    }
  }

  /** A request whose answer is a future. */
  async call(path: string, body: unknown): Promise<Json> {
    return this.result((await this.post(path, body)).request_id);
  }

  /** Opens a session with a model. */
  async start(base_model = 'tiny'): Promise<this> {
    const { session_id } = await this.post('create_session', { tags: [], user_metadata: null, sdk_version: 'test' });
    this.session = session_id;
    const asked = { session_id, model_seq_id: 0, base_model, lora_config: { rank: 8 } };
    this.model = (await this.call('create_model', asked)).model_id;
    return this;
  }

  /** A request of the model, with the next seq_id. */
  train(path: string, body: object = {}): Promise<Json> {
    return this.call(path, { model_id: this.model, seq_id: ++this.#seq, ...body });
  }

  forwardBackward(data: Datum[], lossFn: string, lossConfig?: Record<string, number>, forwardOnly = false) {
    const request = { modelId: this.model, seqId: ++this.#seq, data, lossFn, lossConfig, forwardOnly };
    return this.call(forwardOnly ? 'forward' : 'forward_backward', forwardBackwardToJson(request));
  }

  sample(body: object): Promise<Json> {
    return this.call('asample', body);
  }
}

/** A prompt as the protocol has it. */
export const prompt = (ids: Iterable<number>) => ({ chunks: [{ type: 'encoded_text', tokens: [...ids] }] });
