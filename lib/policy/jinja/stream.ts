import type { Token } from './lexer.js';
import { TemplateError } from './values.js';

/** The tokens of a template, with a place in them. */
export class TokenStream {
  #at = 0;

  constructor(readonly tokens: readonly Token[]) {}

  /** Number of tokens that were passed. */
  get place(): number {
    return this.#at;
  }
  get current(): Token {
    return this.tokens[this.#at];
  }
  get following(): Token {
    return this.tokens[Math.min(this.#at + 1, this.tokens.length - 1)];
  }
  next(): Token {
    const token = this.current;
    if (token.type !== 'end') this.#at++;
    return token;
  }
  /** Whether the current token is one of these names or operators. */
  isName(...names: string[]): boolean {
    return this.current.type === 'name' && names.includes(this.current.value);
  }
  isOperator(...operators: string[]): boolean {
    return this.current.type === 'operator' && operators.includes(this.current.value);
  }
  /** Passes a name or operator if it is the current token. */
  skipName(name: string): boolean {
    return this.isName(name) && this.next() !== undefined;
  }
  skipOperator(operator: string): boolean {
    return this.isOperator(operator) && this.next() !== undefined;
  }
  expect(type: Token['type'], value?: string): Token {
    const token = this.current;
    if (token.type !== type || (value !== undefined && token.value !== value))
      this.fail(`expected ${value ?? type}, not ${token.value || token.type}`);
    return this.next();
  }
  fail(message: string): never {
    throw new TemplateError(`line ${this.current.line}: ${message}`);
  }
}
