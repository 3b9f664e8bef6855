// The tokenizer of a model of the user's, beside Python's tokenizers: one text at a time, on one thread.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '../lib/index.js';
import { packageRoot } from '../lib/kernels/native.js';
import type { Group, Prepared } from './harness.js';
import { agree } from './inputs.js';
import type { ModelScale } from './model.bench.js';

/** Longest text in characters: a problem and its solution. */
const LONGEST = 1000;

export const tokenizerGroups = ({ folder, tiny }: ModelScale): Group[] =>
  existsSync(join(folder, 'tokenizer.json'))
    ? [{ name: 'model tokenizer: encode', setup: () => encode(folder, tiny ? 20 : Infinity) }]
    : [];

async function encode(folder: string, most: number): Promise<Prepared> {
  const tokenizer = await Tokenizer.load(folder);
  const texts = textsOf(join(packageRoot, 'docs')).slice(0, most);
  const run = () => texts.map((text) => tokenizer.encode(text));
  const values = run().flatMap((ids) => [...ids]);
  return {
    contestants: [{ name: 'encode', run, tokens: values.length, versusPeers: true }],
    peers: {
      kind: 'tokenizer_encode',
      parameters: { file: join(folder, 'tokenizer.json'), texts: JSON.stringify(texts) },
      arrays: {},
      verify: agree({ ids: { values, absolute: 0 } }),
    },
  };
}

/** The paragraphs of our documentation, as many to a text as fit. */
function textsOf(folder: string): string[] {
  const texts: string[] = [];
  for (const name of readdirSync(folder)
    .filter((each) => each.endsWith('.md'))
    .sort()) {
    let text = '';
    for (const paragraph of readFileSync(join(folder, name), 'utf8').split('\n\n')) {
      if (text.length + paragraph.length > LONGEST && text !== '') {
        texts.push(text);
        text = '';
      }
      text += `${paragraph}\n\n`;
    }
    texts.push(text);
  }
  return texts;
}
