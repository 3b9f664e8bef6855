// A policy of a fake server, with the base policy behind both.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { characterTokenizer, type Policy, type TinkerOptions, TinkerPolicy } from '../../../lib/index.js';
import { type FakeOptions, type TinkerFake, tinkerServer } from '../../fakes/tinker-server.js';
import { tinyPolicy } from '../tiny.js';

export interface Connected {
  base: Policy;
  fake: TinkerFake;
  policy: TinkerPolicy;
  /** Another connection to the same server. */
  connect: (options?: Partial<TinkerOptions>) => Promise<TinkerPolicy>;
  folder: string;
}

/** Runs `test` with a server and a policy of it. Both are gone afterwards. */
export async function connected(
  fakeOptions: FakeOptions,
  options: Partial<TinkerOptions>,
  test: (connected: Connected) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'prl-tinker-'));
  const model = join(folder, 'model');
  mkdirSync(model);
  const base = tinyPolicy({ eos_token_id: 1 });
  writeFileSync(join(model, 'config.json'), JSON.stringify(base.config));
  await characterTokenizer('0123456789+-*/=().,:;').save(model);
  const fake = await tinkerServer(base, { scratch: folder, ...fakeOptions });
  const connect = (own: Partial<TinkerOptions> = {}) =>
    TinkerPolicy.connect({ url: fake.url, baseModel: 'base', model, retryDelay: 1, ...options, ...own });
  try {
    const policy = await connect();
    await test({ base, fake, policy, connect, folder });
    await policy.close();
  } finally {
    await fake.close();
    base.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}
