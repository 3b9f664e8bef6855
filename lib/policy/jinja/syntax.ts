// The parts of a template.
import type { Value } from './values.js';

export interface Arguments {
  positional: Expression[];
  named: [string, Expression][];
  /** What stands after `*`. */
  spread?: Expression;
  /** What stands after `**`. */
  namedSpread?: Expression;
}

export interface FilterCall {
  name: string;
  args: Arguments;
}

export type Expression =
  | { type: 'constant'; value: Value }
  | { type: 'name'; name: string }
  | { type: 'list' | 'tuple' | 'concatenation'; items: Expression[] }
  | { type: 'dict'; entries: [Expression, Expression][] }
  | { type: 'attribute'; object: Expression; name: string }
  | { type: 'item'; object: Expression; key: Expression }
  | { type: 'slice'; object: Expression; bounds: (Expression | undefined)[] }
  | { type: 'call'; callee: Expression; args: Arguments }
  | { type: 'filter' | 'test'; operand: Expression; call: FilterCall }
  | { type: 'unary'; operator: '-' | '+' | 'not'; operand: Expression }
  | { type: 'and' | 'or'; left: Expression; right: Expression }
  | { type: 'binary'; operator: string; left: Expression; right: Expression }
  | { type: 'comparison'; first: Expression; rest: { operator: string; operand: Expression }[] }
  | { type: 'condition'; test: Expression; then: Expression; otherwise?: Expression };

export type Target =
  | { type: 'name'; name: string }
  | { type: 'attribute'; name: string; attribute: string }
  | { type: 'tuple'; items: Target[] };

export interface Parameters {
  names: string[];
  /** Of the last names. */
  defaults: Expression[];
}

export interface Loop {
  type: 'for';
  target: Target;
  iterable: Expression;
  test?: Expression;
  recursive: boolean;
  body: Statement[];
  otherwise?: Statement[];
}

export interface Macro {
  name: string;
  parameters: Parameters;
  body: Statement[];
  /** Which of caller, varargs and kwargs the body reads. */
  reads: ReadonlySet<string>;
}

export type Statement =
  | { type: 'text'; text: string }
  | { type: 'output'; value: Expression }
  | { type: 'if'; branches: { test: Expression; body: Statement[] }[]; otherwise: Statement[] }
  | Loop
  | { type: 'set'; target: Target; value: Expression }
  | { type: 'setBlock'; target: Target; filters: FilterCall[]; body: Statement[] }
  | { type: 'macro'; macro: Macro }
  | { type: 'call'; call: Expression & { type: 'call' }; macro: Macro }
  | { type: 'filterBlock'; filters: FilterCall[]; body: Statement[] }
  | { type: 'with'; assignments: { target: Target; value: Expression }[]; body: Statement[] }
  | { type: 'generation'; body: Statement[] }
  | { type: 'break' | 'continue' };
