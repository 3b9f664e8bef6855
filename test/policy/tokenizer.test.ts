import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { splitSteps } from '../../lib/index.js';
import { completionSteps } from '../../lib/methods/steps.js';
import { characterTokenizer } from '../../lib/policy/tokenizer.js';
import { byteLevelTokenizer, wordTokenizer } from '../fakes/tokenizers.js';

const tokenizer = byteLevelTokenizer();
const idOf = (symbol: string) => tokenizer.encode(symbol)[0];

const pieces = suite('Tokenizer.pieces');
pieces('pieces gives every token its own text where byte-pair encodings merge newlines', () => {
  const ids = tokenizer.encode('f(x)\ny.\n\nz');
  assert.equal(tokenizer.pieces(ids), ['f', '(', 'x', ')\n', 'y', '.\n\n', 'z']);
  assert.not.ok(ids.includes(idOf('\n')), 'the newline by itself does not occur');
});
pieces('pieces puts a character of several tokens at the token that completes it', () => {
  const ids = tokenizer.encode('x→y→');
  assert.is(ids.length, 8, 'an arrow is three bytes and three tokens');
  assert.equal(tokenizer.pieces(ids), ['x', '', '', '→', 'y', '', '', '→']);
  assert.equal(tokenizer.pieces(ids.subarray(0, 3)), ['x', '', '\ufffd'], 'what is never completed stays at the end');
  assert.equal(tokenizer.pieces([ids[1], idOf('x'), ids[0]]), ['', '\ufffdx', 'x'], 'nor what is broken off');
});
pieces('pieces joined are the decoded text, for any tokens', () => {
  const size = tokenizer.vocabSize;
  for (let seed = 1; seed <= 50; seed++) {
    // Two primes: every pair of neighbours is met sooner or later.
    const ids = Array.from({ length: 40 }, (_, t) => (seed * 31 + t * (seed + 6)) % size);
    assert.is(tokenizer.pieces(ids).join(''), tokenizer.decode(ids), ids.join());
  }
});
pieces('pieces gives special tokens no text, and returns nothing for no tokens', () => {
  assert.equal(tokenizer.pieces([idOf('x'), tokenizer.eosTokenId]), ['x', '']);
  assert.equal(tokenizer.pieces([]), []);
  assert.equal(characterTokenizer('ab\n').pieces([2, 4, 3, 1]), ['a', '\n', 'b', '']);
});
pieces('pieces keeps the space that a word takes from what is before it', () => {
  const words = wordTokenizer(['\u2581Step', '\u2581one', '.', '\n']);
  const ids = [2, 3, 4, 5, 2, 3];
  assert.is(words.decode(ids), 'Step one.\n Step one');
  assert.equal(words.pieces(ids), ['Step', ' one', '.', '\n', ' Step', ' one']);
});
pieces.run();

const steps = suite('completionSteps');
const options = { stepSplit: 'newline', stepLength: 1 } as const;
const completions = ['f(x)\ny.\n\nz', 'x→y'].map((text) => tokenizer.encode(text));
const cut = (change: object, offsets?: number[][]) =>
  Array.from(completionSteps(completions, tokenizer, { ...options, ...change }, offsets));
steps('completionSteps finds newlines in the decoded text, also inside tokens', () => {
  assert.equal(cut({}), [0, 4, 6, 7, 12]);
  assert.equal(cut({ stepSplit: 'blankLine' }), [0, 6, 7, 12]);
  // What the published code does: it looks for the id of a newline.
  assert.equal([...splitSteps(completions, { kind: 'tokens', tokens: [idOf('\n')] })], [0, 7, 12]);
});
steps('completionSteps finds strings in the decoded text, across tokens and bytes', () => {
  assert.equal(cut({ stepSplit: 'strings', stepStrings: ['→', '(x'] }), [0, 3, 7, 11, 12]);
});
steps('completionSteps splits by length, by token ids and by given offsets', () => {
  assert.equal(cut({ stepSplit: 'length', stepLength: 4 }), [0, 4, 7, 11, 12]);
  assert.equal(cut({ stepSplit: 'tokens', stepTokens: [idOf('(')] }), [0, 2, 7, 12]);
  assert.equal(cut({ stepSplit: 'offsets' }, [[1, 6], []]), [0, 1, 6, 7, 12]);
});
steps.run();
