/** A response to learn from, as token ids. */
export interface Demonstration {
  /** What the model reads and does not learn, at least one token. */
  prompt: Int32Array;
  /** What it learns to write, with the token that ends it; at least one token. */
  completion: Int32Array;
  /** [completion.length]: 0 for a token that it reads only, such as a user's later turn. Default: all are learned. */
  mask?: Int32Array;
}
