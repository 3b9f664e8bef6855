// Renders a parsed template.
import { attributeOf, itemOf, sliceOf } from './attributes.js';
import { applyFilter } from './filters.js';
import { LoopState } from './loop.js';
import { arithmetic, compare, limitedText } from './operators.js';
import type { Arguments, Expression, FilterCall, Loop, Macro, Statement, Target } from './syntax.js';
import { applyTest } from './tests.js';
import { str } from './text.js';
import {
  Attributes,
  Callable,
  Dict,
  isNumber,
  iterate,
  listOf,
  Namespace,
  numberOf,
  TemplateError,
  Tuple,
  truth,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** Names and their values. A scope sees those around it. */
export class Scope {
  readonly variables = new Map<string, Value>();
  constructor(readonly around?: Scope) {}

  get(name: string): Value | undefined {
    for (let scope: Scope | undefined = this; scope; scope = scope.around) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
  }
}

/** What ends a body early. */
type Leave = 'break' | 'continue' | undefined;

/** Globals of Jinja that only a refusal can name. */
const UNSUPPORTED = ['cycler', 'joiner', 'lipsum', 'self', 'super'];

/** Writes the text of statements to `out`. What was written before a break or continue stays. */
export function execute(body: readonly Statement[], scope: Scope, out: string[]): Leave {
  for (const statement of body) {
    const leave = executeOne(statement, scope, out);
    if (leave) return leave;
  }
}

function executeOne(statement: Statement, scope: Scope, out: string[]): Leave {
  switch (statement.type) {
    case 'text':
      out.push(statement.text);
      return;
    case 'output':
      out.push(str(evaluateOutput(statement.value, scope)));
      return;
    case 'if': {
      const branch = statement.branches.find(({ test }) => truth(evaluate(test, scope)));
      return execute(branch?.body ?? statement.otherwise, scope, out);
    }
    case 'for':
      runLoop(statement, evaluate(statement.iterable, scope), scope, out);
      return;
    case 'set':
      assign(statement.target, evaluate(statement.value, scope), scope);
      return;
    case 'setBlock':
    case 'filterBlock': {
      const inner: string[] = [];
      const leave = execute(statement.body, new Scope(scope), inner);
      if (leave) return leave;
      const text = statement.filters.reduce<Value>((value, call) => filtered(value, call, scope), inner.join(''));
      if (statement.type === 'setBlock') assign(statement.target, text, scope);
      else out.push(str(text));
      return;
    }
    case 'macro':
      scope.variables.set(statement.macro.name, macroOf(statement.macro, scope));
      return;
    case 'call': {
      const { callee, args } = statement.call;
      const [positional, named] = argumentsOf(args, scope);
      named.set('caller', macroOf(statement.macro, scope));
      out.push(str(call(evaluate(callee, scope), positional, named)));
      return;
    }
    case 'with': {
      const inner = new Scope(scope);
      const values = statement.assignments.map(({ value }) => evaluate(value, scope));
      for (const [i, { target }] of statement.assignments.entries()) assign(target, values[i], inner);
      return execute(statement.body, inner, out);
    }
    case 'generation':
      return execute(statement.body, new Scope(scope), out);
    default:
      return statement.type;
  }
}

/** The filter safe changes nothing at the end of an output: transformers escapes nothing. */
function evaluateOutput(value: Expression, scope: Scope): Value {
  while (value.type === 'filter' && value.call.name === 'safe') value = value.operand;
  return evaluate(value, scope);
}

function runLoop(loop: Loop, iterable: Value, scope: Scope, out: string[], depth = 0): void {
  const items = loop.test ? tested(loop, iterable, scope) : iterate(iterable);
  const again = (value: Value) => {
    const inner: string[] = [];
    runLoop(loop, value, scope, inner, depth + 1);
    return inner.join('');
  };
  const state = new LoopState(items, depth, loop.recursive ? again : undefined);
  let whole = false;
  for (let item = state.advance(); item !== undefined; item = state.advance()) {
    const inner = new Scope(scope);
    inner.variables.set('loop', state);
    assign(loop.target, item, inner);
    const leave = execute(loop.body, inner, out);
    if (leave === 'break') break;
    whole ||= leave === undefined;
  }
  // As in Jinja, also if every iteration ended with break or continue.
  if (loop.otherwise && !whole) execute(loop.otherwise, new Scope(scope), out);
}

/** The items for which the condition of a loop holds. It is read just before each iteration. */
function* tested({ target, test }: Loop, iterable: Value, scope: Scope): Generator<Value> {
  for (const item of iterate(iterable)) {
    const inner = new Scope(scope);
    assign(target, item, inner);
    if (truth(evaluate(test!, inner))) yield item;
  }
}

function assign(target: Target, value: Value, scope: Scope): void {
  if (target.type === 'name') scope.variables.set(target.name, value);
  else if (target.type === 'attribute') {
    const object = scope.get(target.name);
    if (!(object instanceof Namespace))
      throw new TemplateError(`${target.name} is no namespace: its attributes are fixed`);
    if (target.attribute.startsWith('_')) throw new TemplateError(`a namespace cannot have ${target.attribute}`);
    object.attributes.set(target.attribute, value);
  } else {
    const items = listOf(value);
    const wanted = target.items.length;
    if (items.length !== wanted) throw new TemplateError(`${wanted} names are assigned ${items.length} values`);
    for (const [i, each] of target.items.entries()) assign(each, items[i], scope);
  }
}

function macroOf({ name, parameters, body, reads }: Macro, scope: Scope): Callable {
  const { names, defaults } = parameters;
  const run = (args: Value[], named: Map<string, Value>) => {
    const inner = new Scope(scope);
    const rest = new Map(named);
    names.forEach((parameter, i) => {
      if (i < args.length && rest.has(parameter)) throw new TemplateError(`${name} has two values for '${parameter}'`);
      const value = i < args.length ? args[i] : rest.get(parameter);
      rest.delete(parameter);
      const missing = new Undefined(`parameter '${parameter}' was not provided`);
      inner.variables.set(parameter, value === undefined ? missing : value);
      const otherwise = defaults[i - names.length + defaults.length];
      if (value === undefined && otherwise) inner.variables.set(parameter, evaluate(otherwise, inner));
    });
    if (reads.has('caller') && !names.includes('caller')) {
      inner.variables.set('caller', rest.get('caller') ?? new Undefined('No caller defined'));
      rest.delete('caller');
    }
    if (reads.has('kwargs')) inner.variables.set('kwargs', new Dict(rest));
    else if (rest.size > 0) throw new TemplateError(`the macro ${name} takes no argument '${[...rest.keys()][0]}'`);
    if (reads.has('varargs')) inner.variables.set('varargs', new Tuple(args.slice(names.length)));
    else if (args.length > names.length)
      throw new TemplateError(`the macro ${name} takes at most ${names.length} arguments, not ${args.length}`);
    const out: string[] = [];
    execute(body, inner, out);
    return out.join('');
  };
  return new Callable(name, run, `<Macro '${name}'>`);
}

function argumentsOf(
  { positional, named, spread, namedSpread }: Arguments,
  scope: Scope,
): [Value[], Map<string, Value>] {
  const args = positional.map((each) => evaluate(each, scope));
  const names = new Map(named.map(([name, each]) => [name, evaluate(each, scope)]));
  if (spread) args.push(...listOf(evaluate(spread, scope)));
  if (namedSpread) {
    const value = evaluate(namedSpread, scope);
    if (!(value instanceof Dict))
      throw new TemplateError(`the argument after ** must be a dict, not '${typeName(value)}'`);
    for (const [name, each] of value.entries()) names.set(str(name), each);
  }
  return [args, names];
}

function call(callee: Value, args: Value[], named: Map<string, Value>): Value {
  if (callee instanceof Undefined) throw new TemplateError(callee.message);
  if (callee instanceof Callable || (callee instanceof Attributes && callee.call)) return callee.call!(args, named);
  throw new TemplateError(`'${typeName(callee)}' object is not callable`);
}

function filtered(value: Value, { name, args }: FilterCall, scope: Scope): Value {
  if (name === 'safe') throw new TemplateError("the filter 'safe' inside an expression is not supported");
  return applyFilter(name, value, ...argumentsOf(args, scope));
}

function evaluate(expression: Expression, scope: Scope): Value {
  switch (expression.type) {
    case 'constant':
      return expression.value;
    case 'name': {
      const { name } = expression;
      const value = scope.get(name);
      if (value === undefined && UNSUPPORTED.includes(name)) throw new TemplateError(`${name} is not supported`);
      return value === undefined ? new Undefined(`'${name}' is undefined`) : value;
    }
    case 'list':
      return expression.items.map((item) => evaluate(item, scope));
    case 'tuple':
      return new Tuple(expression.items.map((item) => evaluate(item, scope)));
    case 'concatenation':
      return limitedText(expression.items.map((item) => str(evaluateOutput(item, scope))).join(''));
    case 'dict':
      return new Dict(expression.entries.map(([key, value]) => [evaluate(key, scope), evaluate(value, scope)]));
    case 'attribute':
      return attributeOf(evaluate(expression.object, scope), expression.name);
    case 'item':
      return itemOf(evaluate(expression.object, scope), evaluate(expression.key, scope));
    case 'slice':
      return sliceOf(
        evaluate(expression.object, scope),
        expression.bounds.map((bound) => bound && evaluate(bound, scope)),
      );
    case 'call':
      return call(evaluate(expression.callee, scope), ...argumentsOf(expression.args, scope));
    case 'filter':
      return filtered(evaluate(expression.operand, scope), expression.call, scope);
    case 'test': {
      const { name, args } = expression.call;
      return applyTest(name, evaluate(expression.operand, scope), ...argumentsOf(args, scope));
    }
    case 'unary':
      return signed(expression.operator, evaluate(expression.operand, scope));
    case 'and':
    case 'or': {
      const left = evaluate(expression.left, scope);
      return truth(left) === (expression.type === 'or') ? left : evaluate(expression.right, scope);
    }
    case 'binary':
      return arithmetic(expression.operator, evaluate(expression.left, scope), evaluate(expression.right, scope));
    case 'comparison': {
      let left = evaluate(expression.first, scope);
      return expression.rest.every(({ operator, operand }) => {
        const right = evaluate(operand, scope);
        const holds = compare(operator, left, right);
        left = right;
        return holds;
      });
    }
    case 'condition': {
      const { test, then, otherwise } = expression;
      if (truth(evaluate(test, scope))) return evaluate(then, scope);
      return otherwise ? evaluate(otherwise, scope) : new Undefined('the condition is false and has no else');
    }
  }
}

function signed(operator: '-' | '+' | 'not', value: Value): Value {
  if (operator === 'not') return !truth(value);
  if (value instanceof Undefined) throw new TemplateError(value.message);
  if (!isNumber(value)) throw new TemplateError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  const number = numberOf(value);
  return operator === '-' ? -number : number;
}
