// Saved states: weights, with or without the optimizer, under the tinker:// addresses that clients know them by.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { folderDamage, writeFileAtomic, writeFolderAtomic } from '../../../base/atomic.js';
import { outOfRange, PrlError } from '../../../base/errors.js';
import { readJson } from '../../../base/json.js';
import { checkString } from '../../../base/options.js';
import { Policy } from '../../../policy/policy.js';
import type { Tokenizer } from '../../../policy/tokenizer.js';
import { differing } from '../weights.js';

/** What a client asked for when it made the model. The policy has no LoRA: all its weights are trained. */
export interface Lora {
  rank: number;
  train_unembed: boolean;
  train_mlp: boolean;
  train_attn: boolean;
}

type Kind = 'weights' | 'sampler_weights';
const ADDRESS =
  /^tinker:\/\/([0-9a-f-]{36}:train:\d{1,9})\/(weights|sampler_weights)\/([A-Za-z0-9][A-Za-z0-9._-]{0,127})$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const OPTIMIZER = 'optimizer.safetensors';
const FACTS = 'tinker.json';
const SHAPE = {
  base_model: 'text',
  lora: { rank: 'number', train_unembed: 'boolean', train_mlp: 'boolean', train_attn: 'boolean' },
} as const;

export class States {
  constructor(
    /** Holds a folder for each model. */
    readonly folder: string,
    /** The served model: saved states must have its shapes. */
    readonly base: Policy,
    readonly tokenizer: Tokenizer | undefined,
  ) {}

  /**
   * Saves the policy. The training state has its optimizer too.
   *
   * @param overwrite whether a state of this name is replaced; otherwise it is an error
   * @returns the address
   */
  async save(
    policy: Policy,
    { model, kind, name, overwrite }: { model: string; kind: Kind; name: string; overwrite: boolean },
    facts: { base_model: string; lora: Lora },
  ): Promise<string> {
    if (!NAME.test(name))
      throw outOfRange(
        `path must be a name of at most 128 letters, digits, '.', '_' and '-', not '${name.slice(0, 200)}'`,
      );
    const folder = this.#folderOf(model, kind, name);
    if (!overwrite && existsSync(folder)) throw outOfRange(`there is a state '${name}' already: set overwrite`);
    await writeFolderAtomic(folder, async (at) => {
      await policy.save(at);
      if (kind === 'weights') await policy.saveOptimizer(join(at, OPTIMIZER));
      await this.tokenizer?.save(at);
      await writeFileAtomic(join(at, FACTS), `${JSON.stringify(facts, null, 1)}\n`);
    });
    return `tinker://${model}/${kind}/${name}`;
  }

  /**
   * The policy of an address. `optimizer` loads its optimizer too.
   *
   * @throws PrlError ERR_PRL_NOT_FOUND, ERR_PRL_CORRUPT; RangeError for what is no address
   */
  async load(address: unknown, { optimizer }: { optimizer: boolean }): Promise<Policy> {
    const { folder, kind } = this.#find(address);
    if (optimizer && kind !== 'weights')
      throw outOfRange(`${address} has weights for sampling, without an optimizer: load it without`);
    const damage = await folderDamage(folder);
    if (damage !== undefined) throw new PrlError('ERR_PRL_CORRUPT', `${address} is damaged: ${damage}`);
    const policy = await Policy.load(folder, { dtype: this.base.dtype });
    try {
      const difference = differing(this.base, policy);
      if (difference)
        throw outOfRange(`${address} must hold the served model with other weights, but it has ${difference}`);
      if (optimizer) await policy.loadOptimizer(join(folder, OPTIMIZER));
      return policy;
    } catch (error) {
      policy.dispose();
      throw error;
    }
  }

  /** What the model of an address was made with. @throws as load */
  async facts(address: unknown): Promise<{ base_model: string; lora: Lora }> {
    const { folder } = this.#find(address);
    return (await readJson(join(folder, FACTS), { shape: SHAPE })) as unknown as { base_model: string; lora: Lora };
  }

  #find(address: unknown): { folder: string; kind: Kind } {
    const [, model, kind, name] = ADDRESS.exec(checkString('the path', address)) ?? [];
    if (model === undefined)
      throw outOfRange(
        `the path must be tinker://MODEL/weights/NAME or tinker://MODEL/sampler_weights/NAME, not '${String(address).slice(0, 200)}'`,
      );
    const folder = this.#folderOf(model, kind as Kind, name);
    if (!existsSync(folder)) throw new PrlError('ERR_PRL_NOT_FOUND', `there is no state ${address} on this server`);
    return { folder, kind: kind as Kind };
  }

  /** Windows and some archives know no colon in a name. */
  #folderOf(model: string, kind: Kind, name: string): string {
    return join(this.folder, model.replaceAll(':', '-'), kind, name);
  }
}
