import { invalidArgument } from '../base/errors.js';
import { checkChoice, checkOptions } from '../base/options.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import { HttpPrm } from './http-prm.js';
import type { ProcessRewardModel } from './process-reward-model.js';
import { QuantilePrm } from './quantile-prm.js';

/**
 * Loads the process reward model that a command line names: the address of a server, such as
 *
 *     http://localhost:8000/pooling?separator=<extra_0>&chat=true
 *     http://localhost:8000/classify?model=NAME&positiveClass=1&timeout=5000
 *
 * or a folder of `prl prm train`. The folder may end in ?quantile=0.1, the quantile that is the score.
 *
 * @param tokenizer the policy's, which decodes the text for a server
 * @throws TypeError for an address or option that is wrong, or the errors of QuantilePrm.load
 */
export async function loadProcessRewardModel(spec: string, tokenizer: Tokenizer): Promise<ProcessRewardModel> {
  if (/^https?:\/\//.test(spec)) return fromAddress(spec, tokenizer);
  const [, folder, quantile] = /^(.*?)(?:\?quantile=(.*))?$/s.exec(spec)!;
  return QuantilePrm.load(folder, quantile === undefined ? {} : { quantile: Number(quantile) });
}

const NUMBERS = ['positiveClass', 'concurrency', 'timeout', 'retries', 'retryDelay'];

function fromAddress(spec: string, tokenizer: Tokenizer): HttpPrm {
  if (!URL.canParse(spec))
    throw invalidArgument(`the process reward model must be a folder or an address, not '${spec}'`);
  const address = new URL(spec);
  const [, path, endpoint = 'pooling'] = /^(.*?)(?:\/(pooling|classify))?\/?$/.exec(address.pathname)!;
  const given = Object.fromEntries(address.searchParams);
  checkOptions('the address of a process reward model', given, ['model', 'separator', 'chat', ...NUMBERS]);
  if (given.chat !== undefined) checkChoice('chat', given.chat, ['true', 'false']);
  const options = Object.entries(given).map(([name, text]) => [
    name,
    name === 'chat' ? text === 'true' : NUMBERS.includes(name) ? Number(text || Number.NaN) : text,
  ]);
  return new HttpPrm({
    ...Object.fromEntries(options),
    url: address.origin + path,
    endpoint: endpoint as 'pooling' | 'classify',
    tokenizer,
  });
}
