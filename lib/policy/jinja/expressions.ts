// Parses expressions, with the grammar and the precedences of Jinja.
import type { TokenStream } from './stream.js';
import type { Arguments, Expression, FilterCall } from './syntax.js';
import { limitedInt, TemplateError } from './values.js';

/** Deepest nesting of an expression. */
const MOST_DEPTH = 200;
const COMPARISONS = ['==', '!=', '<', '<=', '>', '>='];
const CONSTANTS: { [name: string]: boolean | null } = {
  ...{ true: true, True: true, false: false, False: false, none: null, None: null },
};

export class ExpressionParser {
  #depth = 0;

  constructor(readonly stream: TokenStream) {}

  /** @param conditional whether `a if b else c` may stand there */
  expression(conditional = true): Expression {
    if (++this.#depth > MOST_DEPTH) throw new TemplateError(`an expression is nested more than ${MOST_DEPTH} deep`);
    const found = conditional ? this.#condition() : this.#or();
    this.#depth--;
    return found;
  }

  /** One expression, or several with commas, which are a tuple. */
  tuple(conditional = true, ends: () => boolean = () => false): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    while (!this.#endOfTuple() && !ends()) {
      items.push(this.expression(conditional));
      if (!this.stream.skipOperator(',')) break;
      isTuple = true;
    }
    if (items.length === 0) this.stream.fail(`expected an expression, not ${this.#shown()}`);
    return isTuple ? { type: 'tuple', items } : items[0];
  }

  #endOfTuple(): boolean {
    const { type } = this.stream.current;
    return type === '}}' || type === '%}' || this.stream.isOperator(')');
  }

  #shown(): string {
    const { type, value } = this.stream.current;
    return value || type;
  }

  #condition(): Expression {
    const { stream } = this;
    let then = this.#or();
    while (stream.skipName('if')) {
      const test = this.#or();
      const otherwise = stream.skipName('else') ? this.expression() : undefined;
      then = { type: 'condition', test, then, otherwise };
    }
    return then;
  }

  #or(): Expression {
    let left = this.#and();
    while (this.stream.skipName('or')) left = { type: 'or', left, right: this.#and() };
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.stream.skipName('and')) left = { type: 'and', left, right: this.#not() };
    return left;
  }

  #not(): Expression {
    let nots = 0;
    while (this.stream.skipName('not')) nots++;
    let operand = this.#comparison();
    for (; nots > 0; nots--) operand = { type: 'unary', operator: 'not', operand };
    return operand;
  }

  #comparison(): Expression {
    const { stream } = this;
    const first = this.#sum();
    const rest: { operator: string; operand: Expression }[] = [];
    for (;;) {
      let operator: string;
      if (stream.isOperator(...COMPARISONS)) operator = stream.next().value;
      else if (stream.skipName('in')) operator = 'in';
      else if (stream.isName('not') && stream.following.type === 'name' && stream.following.value === 'in') {
        stream.next();
        stream.next();
        operator = 'not in';
      } else break;
      rest.push({ operator, operand: this.#sum() });
    }
    return rest.length > 0 ? { type: 'comparison', first, rest } : first;
  }

  #sum = (): Expression => this.#chain(['+', '-'], this.#concatenation);

  #concatenation = (): Expression => {
    const items = [this.#product()];
    while (this.stream.skipOperator('~')) items.push(this.#product());
    return items.length === 1 ? items[0] : { type: 'concatenation', items };
  };

  #product = (): Expression => this.#chain(['*', '/', '//', '%'], this.#power);

  /** Jinja's ** is left-associative. */
  #power = (): Expression => this.#chain(['**'], () => this.#unary(true));

  #chain(operators: string[], operand: () => Expression): Expression {
    let left = operand();
    while (this.stream.isOperator(...operators)) {
      const operator = this.stream.next().value;
      left = { type: 'binary', operator, left, right: operand() };
    }
    return left;
  }

  #unary(filtered: boolean): Expression {
    const { stream } = this;
    const signs: ('-' | '+')[] = [];
    while (stream.isOperator('-', '+')) signs.push(stream.next().value as '-' | '+');
    let operand = this.#postfix(this.#primary());
    for (const operator of signs.reverse()) operand = { type: 'unary', operator, operand };
    return filtered ? this.#filtersAndTests(operand) : operand;
  }

  #primary(): Expression {
    const { stream } = this;
    const { type, value } = stream.current;
    switch (type) {
      case 'name':
        stream.next();
        return Object.hasOwn(CONSTANTS, value)
          ? { type: 'constant', value: CONSTANTS[value] }
          : { type: 'name', name: value };
      case 'string': {
        let text = '';
        while (stream.current.type === 'string') text += stream.next().value;
        return { type: 'constant', value: text };
      }
      case 'integer':
        stream.next();
        return { type: 'constant', value: limitedInt(BigInt(value.replaceAll('_', ''))) };
      case 'float':
        stream.next();
        return { type: 'constant', value: Number(value.replaceAll('_', '')) };
    }
    if (stream.skipOperator('(')) {
      const found: Expression = stream.isOperator(')') ? { type: 'tuple', items: [] } : this.tuple();
      stream.expect('operator', ')');
      return found;
    }
    if (stream.skipOperator('[')) return { type: 'list', items: this.#list(']', () => this.expression()) };
    if (stream.skipOperator('{')) return { type: 'dict', entries: this.#list('}', () => this.#entry()) };
    return stream.fail(`unexpected ${this.#shown()}`);
  }

  #list<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.stream.skipOperator(end)) {
      if (items.length > 0) {
        this.stream.expect('operator', ',');
        if (this.stream.skipOperator(end)) break;
      }
      items.push(item());
    }
    return items;
  }

  #entry(): [Expression, Expression] {
    const key = this.expression();
    this.stream.expect('operator', ':');
    return [key, this.expression()];
  }

  #postfix(object: Expression): Expression {
    const { stream } = this;
    for (;;) {
      if (stream.skipOperator('.')) {
        const { type, value } = stream.next();
        if (type === 'name') object = { type: 'attribute', object, name: value };
        else if (type === 'integer')
          object = { type: 'item', object, key: { type: 'constant', value: BigInt(value.replaceAll('_', '')) } };
        else stream.fail('expected a name or a number after the point');
      } else if (stream.skipOperator('[')) object = this.#subscript(object);
      else if (stream.isOperator('(')) object = { type: 'call', callee: object, args: this.#arguments() };
      else return object;
    }
  }

  #subscript(object: Expression): Expression {
    const { stream } = this;
    const bounds: (Expression | undefined)[] = [];
    const ends = () => stream.isOperator(']', ',');
    if (!stream.isOperator(':')) {
      const items = [this.expression()];
      if (!stream.isOperator(':')) {
        while (stream.skipOperator(',')) items.push(this.expression());
        stream.expect('operator', ']');
        return { type: 'item', object, key: items.length === 1 ? items[0] : { type: 'tuple', items } };
      }
      bounds.push(items[0]);
    } else bounds.push(undefined);
    while (bounds.length < 3 && stream.skipOperator(':'))
      bounds.push(ends() || stream.isOperator(':') ? undefined : this.expression());
    stream.expect('operator', ']');
    return { type: 'slice', object, bounds };
  }

  #filtersAndTests(operand: Expression): Expression {
    const { stream } = this;
    for (;;) {
      if (stream.isOperator('|')) {
        stream.next();
        operand = { type: 'filter', operand, call: this.filter() };
      } else if (stream.skipName('is')) operand = this.#test(operand);
      else if (stream.isOperator('(')) operand = { type: 'call', callee: operand, args: this.#arguments() };
      else return operand;
    }
  }

  /** The name of a filter, after the |, and its arguments. */
  filter(): FilterCall {
    const name = this.#dottedName();
    return { name, args: this.stream.isOperator('(') ? this.#arguments() : { positional: [], named: [] } };
  }

  /** The filters of a block: {% filter a | b %} */
  filters(): FilterCall[] {
    const filters = [this.filter()];
    while (this.stream.skipOperator('|')) filters.push(this.filter());
    return filters;
  }

  #dottedName(): string {
    let name = this.stream.expect('name').value;
    while (this.stream.skipOperator('.')) name += `.${this.stream.expect('name').value}`;
    return name;
  }

  #test(operand: Expression): Expression {
    const { stream } = this;
    const negated = stream.skipName('not');
    const name = this.#dottedName();
    let args: Arguments = { positional: [], named: [] };
    const { type } = stream.current;
    const begins =
      ['string', 'integer', 'float'].includes(type) ||
      stream.isOperator('[', '{') ||
      (type === 'name' && !stream.isName('else', 'or', 'and'));
    if (stream.isOperator('(')) args = this.#arguments();
    else if (begins) {
      if (stream.isName('is')) stream.fail('two tests with `is` need parentheses');
      args = { positional: [this.#postfix(this.#primary())], named: [] };
    }
    const test: Expression = { type: 'test', operand, call: { name, args } };
    return negated ? { type: 'unary', operator: 'not', operand: test } : test;
  }

  #arguments(): Arguments {
    const { stream } = this;
    const args: Arguments = { positional: [], named: [] };
    stream.expect('operator', '(');
    let first = true;
    while (!stream.skipOperator(')')) {
      if (!first) {
        stream.expect('operator', ',');
        if (stream.skipOperator(')')) break;
      }
      first = false;
      if (stream.skipOperator('*')) {
        if (args.spread || args.namedSpread) stream.fail('a call has two arguments with *');
        args.spread = this.expression();
      } else if (stream.skipOperator('**')) {
        if (args.namedSpread) stream.fail('a call has two arguments with **');
        args.namedSpread = this.expression();
      } else if (
        stream.current.type === 'name' &&
        stream.following.type === 'operator' &&
        stream.following.value === '='
      ) {
        const name = stream.next().value;
        stream.next();
        if (args.namedSpread) stream.fail(`the argument ${name} stands after **`);
        args.named.push([name, this.expression()]);
      } else {
        if (args.named.length > 0 || args.spread || args.namedSpread)
          stream.fail('an argument without a name stands after one with a name');
        args.positional.push(this.expression());
      }
    }
    return args;
  }
}
