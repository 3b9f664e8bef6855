// Parses a template: text, expressions and statements.
import { ExpressionParser } from './expressions.js';
import { tokenize } from './lexer.js';
import { TokenStream } from './stream.js';
import type { Expression, Macro, Parameters, Statement, Target } from './syntax.js';

/** Deepest nesting of statements. */
const MOST_DEPTH = 200;
/** Names that a macro gets only if it reads them. */
const IMPLIED = ['caller', 'varargs', 'kwargs'];
/** Statements of Jinja that chat templates have no use for. */
const UNSUPPORTED = ['block', 'extends', 'include', 'import', 'from', 'autoescape', 'do', 'trans', 'debug'];

/** @throws TemplateError that names the line and the construct */
export const parseTemplate = (source: string): Statement[] => new StatementParser(source).template();

class StatementParser {
  readonly #stream: TokenStream;
  readonly #expressions: ExpressionParser;
  /** Loops around the current statement, in the same macro. */
  #loops = 0;
  #depth = 0;

  constructor(source: string) {
    this.#stream = new TokenStream(tokenize(source));
    this.#expressions = new ExpressionParser(this.#stream);
  }

  template(): Statement[] {
    const body = this.#statements([]);
    if (this.#stream.current.type !== 'end') this.#stream.fail(`unexpected ${this.#stream.current.value}`);
    return body;
  }

  /** The statements up to one of `ends`, whose {% is passed. */
  #statements(ends: readonly string[]): Statement[] {
    const stream = this.#stream;
    if (++this.#depth > MOST_DEPTH) stream.fail(`statements are nested more than ${MOST_DEPTH} deep`);
    const body: Statement[] = [];
    for (;;) {
      const { type, value } = stream.current;
      if (type === 'end') {
        if (ends.length > 0) stream.fail(`missing {% ${ends.at(-1)} %}`);
        break;
      }
      stream.next();
      if (type === 'text') body.push({ type: 'text', text: value });
      else if (type === '{{') {
        body.push({ type: 'output', value: this.#expressions.tuple() });
        stream.expect('}}');
      } else {
        if (stream.isName(...ends)) break;
        body.push(...this.#statement());
      }
    }
    this.#depth--;
    return body;
  }

  #endOfTag(): void {
    this.#stream.expect('%}');
  }

  /** The statements up to {% end %}. */
  #body(end: string): Statement[] {
    this.#endOfTag();
    const body = this.#statements([end]);
    this.#stream.next();
    this.#endOfTag();
    return body;
  }

  #statement(): Statement[] {
    const stream = this.#stream;
    const name = stream.expect('name').value;
    switch (name) {
      case 'for':
        return [this.#for()];
      case 'if':
        return [this.#if()];
      case 'set':
        return [this.#set()];
      case 'macro': {
        const macro = stream.expect('name').value;
        return [{ type: 'macro', macro: this.#macro(macro, this.#parameters(), 'endmacro') }];
      }
      case 'call': {
        const parameters = stream.isOperator('(') ? this.#parameters() : { names: [], defaults: [] };
        const call = this.#expressions.expression();
        if (call.type !== 'call') return stream.fail('{% call %} needs a call');
        return [{ type: 'call', call, macro: this.#macro('caller', parameters, 'endcall') }];
      }
      case 'filter':
        return [{ type: 'filterBlock', filters: this.#expressions.filters(), body: this.#body('endfilter') }];
      case 'with':
        return [this.#with()];
      case 'generation':
        return [{ type: 'generation', body: this.#apart(() => this.#body('endgeneration')) }];
      case 'print': {
        const value = this.#expressions.tuple();
        this.#endOfTag();
        return value.type === 'tuple'
          ? value.items.map((value) => ({ type: 'output', value }))
          : [{ type: 'output', value }];
      }
      case 'break':
      case 'continue':
        if (this.#loops === 0) stream.fail(`{% ${name} %} stands outside of a loop`);
        this.#endOfTag();
        return [{ type: name }];
    }
    if (UNSUPPORTED.includes(name)) stream.fail(`the statement {% ${name} %} is not supported`);
    return stream.fail(`unknown statement {% ${name} %}`);
  }

  #for(): Statement {
    const stream = this.#stream;
    const target = this.#target(false, () => stream.isName('in'));
    if (names(target).includes('loop')) stream.fail('loop cannot be the name of an item');
    stream.expect('name', 'in');
    const iterable = this.#expressions.tuple(false, () => stream.isName('recursive'));
    const test = stream.skipName('if') ? this.#expressions.expression() : undefined;
    const recursive = stream.skipName('recursive');
    this.#endOfTag();
    this.#loops++;
    const body = this.#statements(['else', 'endfor']);
    this.#loops--;
    const otherwise = stream.next().value === 'else' ? this.#body('endfor') : undefined;
    if (!otherwise) this.#endOfTag();
    return { type: 'for', target, iterable, test, recursive, body, otherwise };
  }

  #if(): Statement {
    const branches: { test: Expression; body: Statement[] }[] = [];
    let otherwise: Statement[] = [];
    for (;;) {
      const test = this.#expressions.tuple(false);
      this.#endOfTag();
      branches.push({ test, body: this.#statements(['elif', 'else', 'endif']) });
      const { value } = this.#stream.next();
      if (value === 'else') otherwise = this.#body('endif');
      if (value === 'endif') this.#endOfTag();
      if (value !== 'elif') return { type: 'if', branches, otherwise };
    }
  }

  #set(): Statement {
    const stream = this.#stream;
    const target = this.#target(true, () => stream.isOperator('='));
    if (stream.skipOperator('=')) {
      const value = this.#expressions.tuple();
      this.#endOfTag();
      return { type: 'set', target, value };
    }
    const filters = stream.skipOperator('|') ? this.#expressions.filters() : [];
    return { type: 'setBlock', target, filters, body: this.#body('endset') };
  }

  #with(): Statement {
    const stream = this.#stream;
    const assignments: { target: Target; value: Expression }[] = [];
    while (stream.current.type !== '%}') {
      if (assignments.length > 0) stream.expect('operator', ',');
      const target = this.#target(false, () => stream.isOperator('='));
      stream.expect('operator', '=');
      assignments.push({ target, value: this.#expressions.expression() });
    }
    return { type: 'with', assignments, body: this.#body('endwith') };
  }

  /** What an assignment assigns to: names with commas, perhaps in parentheses. */
  #target(attributes: boolean, ends: () => boolean): Target {
    const stream = this.#stream;
    const items: Target[] = [];
    let isTuple = false;
    while (!ends() && !stream.isOperator(')')) {
      if (stream.skipOperator('(')) {
        items.push(this.#target(attributes, () => false));
        stream.expect('operator', ')');
      } else items.push(this.#assignable(attributes));
      if (!stream.skipOperator(',')) break;
      isTuple = true;
    }
    if (items.length === 0) stream.fail('expected a name to assign to');
    return isTuple ? { type: 'tuple', items } : items[0];
  }

  #assignable(attributes: boolean): Target {
    const stream = this.#stream;
    const name = stream.expect('name').value;
    if (attributes && stream.skipOperator('.'))
      return { type: 'attribute', name, attribute: stream.expect('name').value };
    if (/^(true|false|none)$/i.test(name) && /^[TFN]?[a-z]+$/.test(name)) stream.fail(`${name} cannot be assigned to`);
    return { type: 'name', name };
  }

  #parameters(): Parameters {
    const stream = this.#stream;
    const names: string[] = [];
    const defaults: Expression[] = [];
    stream.expect('operator', '(');
    while (!stream.skipOperator(')')) {
      if (names.length > 0) stream.expect('operator', ',');
      names.push(stream.expect('name').value);
      if (stream.skipOperator('=')) defaults.push(this.#expressions.expression());
      else if (defaults.length > 0) stream.fail(`the parameter ${names.at(-1)} needs a default`);
    }
    return { names, defaults };
  }

  #macro(name: string, parameters: Parameters, end: string): Macro {
    const begin = this.#stream.place;
    const body = this.#apart(() => this.#body(end));
    const words = this.#stream.tokens.slice(begin, this.#stream.place).filter(({ type }) => type === 'name');
    const reads = new Set(IMPLIED.filter((implied) => words.some(({ value }) => value === implied)));
    return { name, parameters, body, reads };
  }

  /** Parses what is a function of its own: no loop around it can be left from inside. */
  #apart<T>(parse: () => T): T {
    const loops = this.#loops;
    this.#loops = 0;
    const found = parse();
    this.#loops = loops;
    return found;
  }
}

const names = (target: Target): string[] =>
  target.type === 'tuple' ? target.items.flatMap(names) : target.type === 'name' ? [target.name] : [];
