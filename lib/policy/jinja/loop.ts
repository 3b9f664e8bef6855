import { Attributes, Callable, equals, MOST_ITEMS, TemplateError, Undefined, type Value } from './values.js';

/** The variable `loop`. Items are read as late as Jinja reads them: a condition may depend on earlier iterations. */
export class LoopState extends Attributes {
  readonly #iterator: Iterator<Value>;
  readonly #ahead: Value[] = [];
  #index = -1;
  #current: Value | undefined;
  #previous: Value | undefined;
  #changed: Value[] | undefined;
  override readonly call?: (args: Value[], named: Map<string, Value>) => Value;

  /**
   * @param again renders the loop again, for recursive ones
   */
  constructor(
    items: Iterable<Value>,
    readonly depth: number,
    again: ((value: Value) => string) | undefined,
  ) {
    super();
    this.#iterator = items[Symbol.iterator]();
    if (again) this.call = ([value]) => again(value);
  }

  /** Moves to the next item; undefined: there is none. */
  advance(): Value | undefined {
    this.#previous = this.#current;
    this.#current = this.#look(0) ? this.#ahead.shift() : undefined;
    this.#index++;
    return this.#current;
  }

  /** Whether there are more than `count` items after the current one. */
  #look(count: number): boolean {
    while (this.#ahead.length <= count) {
      const { done, value } = this.#iterator.next();
      if (done) return false;
      if (this.#ahead.push(value) > MOST_ITEMS) throw new TemplateError('a loop has too many items');
    }
    return true;
  }

  get #length(): number {
    while (this.#look(this.#ahead.length));
    return this.#index + 1 + this.#ahead.length;
  }

  get shown(): string {
    return `<LoopContext ${this.#index + 1}/${this.#length}>`;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case 'index':
        return BigInt(this.#index + 1);
      case 'index0':
        return BigInt(this.#index);
      case 'revindex':
        return BigInt(this.#length - this.#index);
      case 'revindex0':
        return BigInt(this.#length - this.#index - 1);
      case 'first':
        return this.#index === 0;
      case 'last':
        return !this.#look(0);
      case 'length':
        return BigInt(this.#length);
      case 'previtem':
        return this.#previous === undefined ? new Undefined('there is no previous item') : this.#previous;
      case 'nextitem':
        return this.#look(0) ? this.#ahead[0] : new Undefined('there is no next item');
      case 'depth':
        return BigInt(this.depth + 1);
      case 'depth0':
        return BigInt(this.depth);
      case 'cycle':
        return new Callable('loop.cycle', (args) => {
          if (args.length === 0) throw new TemplateError('loop.cycle needs values');
          return args[this.#index % args.length];
        });
      case 'changed':
        return new Callable('loop.changed', (args) => {
          const same = this.#changed !== undefined && equals(this.#changed, args);
          this.#changed = args;
          return !same;
        });
    }
  }
}
