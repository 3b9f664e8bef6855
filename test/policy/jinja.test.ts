// The template engine against what transformers renders, and the clock of strftime_now.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tokenizer } from '../../lib/index.js';
import { clockText, clockTime } from '../../lib/policy/clock.js';
import { Template, TemplateError } from '../../lib/policy/jinja/template.js';
import { throwsError } from '../reference/numbers.js';

const FIXTURES = new URL('../fixtures/', import.meta.url);
const read = (name: string) => JSON.parse(readFileSync(fileURLToPath(new URL(name, FIXTURES)), 'utf8'));
const { values, cases } = read('chat-templates/cases.json') as {
  values: Record<string, unknown>;
  /** A template and its text; null: Python raises an error. */
  cases: [template: string, text: string | null][];
};
/** Constructs that Python renders and this engine refuses by name. */
const REFUSALS = [
  /^the filter '(e|escape|forceescape|pprint|random|slice|striptags|urlencode|urlize|wordwrap|xmlattr)' is not supported$/,
  /^the filter 'safe' inside an expression is not supported$/,
  /^the filter needs a text, not '(list|dict|undefined|range|tuple|dict_items)'$/, // truncate
  /^str\.(encode|expandtabs|format|find with a start) is not supported$|^str\.find with a start is not supported$/,
  /^int\.bit_length is not supported$|^formatting a text with '%' is not supported$|^a complex number is not supported$/,
  /^line 1: the statement \{% block %\} is not supported$|^self is not supported$/,
  /^the code %[-_0^#5]*[f:LQE-] of strftime_now is not supported$/,
];

const engine = suite('Chat templates');
engine('every template gives the text of transformers, fails as there, or is refused by name', () => {
  const now = clockTime('clock', '2026-07-05T08:04:09.123');
  let refused = 0;
  const wrong: string[] = [];
  for (const [template, text] of cases) {
    let rendered: string | null = null;
    let failure: Error | undefined;
    try {
      rendered = new Template(template).render(values, now);
    } catch (error) {
      failure = error as Error;
      if (!(error instanceof TemplateError)) wrong.push(`${JSON.stringify(template)} fails with ${failure.stack}`);
    }
    if (rendered === text) continue;
    if (rendered === null && REFUSALS.some((pattern) => pattern.test(failure!.message))) refused++;
    else
      wrong.push(
        `${JSON.stringify(template)} gives ${JSON.stringify(rendered)} (${failure?.message}), not ${JSON.stringify(text)}`,
      );
  }
  assert.is(wrong.length, 0, wrong.slice(0, 20).join('\n'));
  assert.ok(cases.length > 5000 && refused < 100, `${refused} of ${cases.length} templates were refused`);
});
engine('a template that cannot be read names the line and the construct', () => {
  for (const [template, why] of [
    ['a\n{% include "x" %}', /^line 2: the statement \{% include %\} is not supported$/],
    ['{% frobnicate %}', /^line 1: unknown statement \{% frobnicate %\}$/],
    ['{% if yes %}\n\n', /^line 2: missing \{% endif %\}$/],
    ['{% break %}', /^line 1: \{% break %\} stands outside of a loop$/],
    ['\n{{ a ? b }}', /^line 2: unexpected character '\?'$/],
  ] as const)
    throwsError(() => new Template(template), TemplateError, 'ERR_PRL_TEMPLATE', why);
});
engine('what would take all memory is refused', () => {
  const fails = (template: string, why: RegExp) =>
    throwsError(() => new Template(template).render({}, new Date(0)), TemplateError, 'ERR_PRL_TEMPLATE', why);
  const doubled = (what: string, by: string) =>
    `{% set n = namespace(x=${what}) %}{% for i in range(99) %}{% set n.x = ${by} %}{% endfor %}`;
  fails(doubled("'ab'", 'n.x ~ n.x'), /characters/);
  fails(doubled("'ab'", 'n.x + n.x'), /characters/);
  fails(doubled('[1]', 'n.x + n.x'), /items/);
  fails(doubled('9', 'n.x * n.x'), /bits/);
  fails("{{ 'ab' * 999999999 }}", /characters/);
  fails('{{ 10 ** (10 ** 10) }}', /huge int/);
});
engine.run();

const USER = [{ role: 'user', content: 'x' }];
const clock = suite('The clock of chat templates');
const dated = (template = "{{ strftime_now('%d %b %Y %H:%M') }}") =>
  new Tokenizer(read('tokenizers/qwen2/tokenizer.json'), { eos_token: '<|im_end|>', chat_template: template });
clock('strftime_now tells the clock of the tokenizer, which does not move', () => {
  const tokenizer = dated();
  assert.is(tokenizer.readsClock, true);
  assert.is(dated('{{ messages }}').readsClock, false);
  const { clock } = tokenizer;
  assert.match(clock, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}$/);
  assert.is(dated().clock, clock);
  const age = Date.now() - new Date(clock).getTime();
  assert.ok(age >= 0 && age < 600_000, `the clock is ${age} ms before now`);
  tokenizer.clock = '2024-02-29';
  assert.is(tokenizer.applyChatTemplate(USER), '29 Feb 2024 00:00');
  assert.is(tokenizer.applyChatTemplate(USER, { clock: '2026-12-31T23:59' }), '31 Dec 2026 23:59');
  assert.is(tokenizer.applyChatTemplate(USER), '29 Feb 2024 00:00');
});
clock('a clock that is no local date is refused', () => {
  for (const wrong of ['', 'now', '2026-02-30', '2026-13-01', '26-01-01', '2026-01-01T24:00', '2026-01-01T00:00Z'])
    throwsError(() => (dated().clock = wrong), RangeError, 'ERR_PRL_OUT_OF_RANGE', /clock must be a local date/);
  throwsError(
    () => dated().applyChatTemplate(USER, { clock: 5 } as object),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /clock/,
  );
});
clock('a moment becomes its local time', () => {
  const moment = new Date(2026, 0, 2, 3, 4, 5, 6);
  assert.is(clockText(moment), '2026-01-02T03:04:05.006');
});
clock('messages are passed as transformers passes them: without nulls, their reasoning under each name', () => {
  const tokenizer = dated('{{ messages[0] }}');
  const render = (message: object) => tokenizer.applyChatTemplate([{ role: 'user', content: 'x', ...message }]);
  assert.is(render({ tool_calls: null }), "{'role': 'user', 'content': 'x'}");
  assert.is(
    render({ reasoning: 'r' }),
    "{'thinking': 'r', 'role': 'user', 'content': 'x', 'reasoning': 'r', 'reasoning_content': 'r'}",
  );
});
clock.run();
