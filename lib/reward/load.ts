import { invalidArgument } from '../errors.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import { HttpPrm } from './http-prm.js';
import type { ProcessRewardModel } from './process-reward-model.js';
import { QuantilePrm } from './quantile-prm.js';

/**
 * The process reward model that a command line names: the address of a server that serves one, such as
 *
 *     http://localhost:8000/pooling?separator=<extra_0>&chat=true
 *     http://localhost:8000/classify?model=NAME&positiveClass=1
 *
 * or the folder of one that `prl prm train` made, which may end in ?quantile=0.1 (which of its quantiles is the score).
 */
export async function loadProcessRewardModel(spec: string, tokenizer: Tokenizer): Promise<ProcessRewardModel> {
  if (/^https?:\/\//.test(spec)) return fromAddress(spec, tokenizer);
  const [, folder, quantile] = /^(.*?)(?:\?quantile=(.*))?$/s.exec(spec)!;
  return QuantilePrm.load(folder, quantile === undefined ? {} : { quantile: Number(quantile) });
}

function fromAddress(spec: string, tokenizer: Tokenizer): HttpPrm {
  if (!URL.canParse(spec)) throw invalidArgument(`'${spec}' is not an address`);
  const address = new URL(spec);
  const [, path, endpoint = 'pooling'] = /^(.*?)(?:\/(pooling|classify))?\/?$/.exec(address.pathname)!;
  const { positiveClass, chat, ...rest } = Object.fromEntries(address.searchParams);
  return new HttpPrm({
    ...rest,
    ...(positiveClass !== undefined && { positiveClass: Number(positiveClass) }),
    ...(chat !== undefined && { chat: chat === 'true' }),
    url: address.origin + path,
    endpoint: endpoint as 'pooling' | 'classify',
    tokenizer,
  });
}
