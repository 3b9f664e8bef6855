import type { SampledGroup, SampledResponse, SampledStep, SampleRow } from '../../train/sample-log.js';
import { rounded } from '../kit/table.js';
import { Html, html } from './html.js';
import type { ReportRun } from './read.js';
import { figure, tableOf } from './sections.js';

/** Number of training steps whose responses are shown. */
const SHOWN_STEPS = 6;
const TABLE_ROWS = 150;

/** `count` items of a list, evenly spaced, with the first and the last. */
export function spread<T>(list: readonly T[], count: number): T[] {
  if (list.length <= count) return [...list];
  return Array.from({ length: count }, (_, i) => list[Math.round((i * (list.length - 1)) / (count - 1))]);
}

const sampled = (samples: readonly SampleRow[]) => samples.filter(({ groups }) => groups && groups.length > 0);

/** The advantages with the deepest colour in a training step: raw ones, and differences from their response's mean. */
interface Scale {
  outcome: number;
  within: number;
}

const meanOf = (steps: readonly SampledStep[]) =>
  steps.reduce((sum, { advantage }) => sum + advantage, 0) / steps.length;
const signed = (value: number) => (Number.isFinite(value) ? rounded(value, 3, true) : 'not finite');

/**
 * Responses of a run, each reasoning step in the colour of its advantage. Each training step has its own scale:
 * advantages grow by orders of magnitude in training, and on one scale the early ones would be blank.
 */
export function creditOf({ name, samples }: ReportRun, label: string, open: boolean): Html | undefined {
  const rows = spread(sampled(samples), SHOWN_STEPS);
  if (rows.length === 0) return undefined;
  const title = name === label ? label : `${label}: ${name}`;
  return html`<details${open && new Html(' open')} class="credit"><summary>${title}</summary>${rows.map(creditRow)}</details>`;
}

/** Smaller numbers are rounding errors of float32. */
const NOTHING = 1e-6;

function creditRow({ step, groups }: SampleRow): Html {
  const responses = groups!.flatMap((group) => group.responses);
  const largest = (values: number[]) => values.reduce((max, value) => Math.max(max, Math.abs(value) || 0), 0);
  const outcome = largest(responses.flatMap(({ steps }) => steps.map(({ advantage }) => advantage)));
  const within = largest(responses.flatMap(({ steps }) => steps.map(({ advantage }) => advantage - meanOf(steps))));
  const scale = { outcome: Math.max(outcome, NOTHING), within: Math.max(within, NOTHING) };
  const deepest =
    outcome <= NOTHING
      ? 'no colour: every advantage is 0, as where all rewards of a group are equal'
      : `deepest colour at ±${short(outcome)}${within <= NOTHING ? '; all steps of a response have the same advantage' : `, ±${short(within)} within a response`}`;
  return html`<h4>Training step ${step} <span class="note">${deepest}</span></h4><div class="groups">${groups!.map((group) => creditGroup(group, scale))}</div>`;
}

const short = (value: number) => String(Number(value.toPrecision(2)));

const creditGroup = (
  group: SampledGroup,
  scale: Scale,
) => html`<div class="group"><p><code>${group.prompt}</code> <span class="note">answer</span> <code>${group.answer}</code>
<span class="note">mean reward of ${group.n}: ${figure(group.mean, 2)}</span></p>
${group.responses.map((response) => creditResponse(response, scale))}</div>`;

function creditResponse({ reward, finished, steps, omitted }: SampledResponse, scale: Scale): Html {
  return html`<div class="response"><span class="reward">${figure(reward, 2)}</span><div class="text">${steps.map((step, i) => creditStep(step, i, meanOf(steps), scale))}${
    omitted !== undefined && html`<span class="note">${omitted} more steps</span>`
  }${!finished && html`<span class="note" title="cut at the length limit">…</span>`}</div></div>`;
}

function creditStep({ text, tokens, advantage, score }: SampledStep, i: number, mean: number, scale: Scale): Html {
  const numbers = [
    `step ${i + 1}`,
    `advantage ${signed(advantage)}`,
    ...(score === undefined ? [] : [`score ${figure(score)}`]),
    `${tokens} token${tokens === 1 ? '' : 's'}`,
  ].join(', ');
  const weight = (value: number) => (Math.abs(value) || 0).toFixed(3);
  const sign = `${advantage >= 0 ? 'up' : 'down'} ${advantage >= mean ? 'more' : 'less'}`;
  const weights = `--w:${weight(advantage / scale.outcome)};--r:${weight((advantage - mean) / scale.within)}`;
  return html`<span class="step ${sign}" tabindex="0" style="${weights}" data-a="${signed(advantage)}" data-n="${numbers}">${text || html`<i>end</i>`}</span>`;
}

export function sampleTable(runs: readonly ReportRun[]): Html | undefined {
  const all = runs.flatMap(({ name, samples }) =>
    sampled(samples).flatMap(({ step, groups }) =>
      groups!.flatMap(({ prompt, answer, responses }) =>
        responses.map(({ reward, finished, steps }) => {
          const advantages = steps.map(({ advantage }) => signed(advantage)).join(' ');
          const tokens = steps.reduce((sum, step) => sum + step.tokens, 0);
          const text = html`<pre>${steps.map((each) => each.text).join('')}${!finished && ' …'}</pre>`;
          const what = runs.length > 1 ? [name] : [];
          return [
            ...what,
            String(step),
            html`<code>${prompt}</code>`,
            html`<code>${answer}</code>`,
            text,
            figure(reward, 2),
            String(tokens),
            advantages,
          ];
        }),
      ),
    ),
  );
  if (all.length === 0) return undefined;
  const head = [
    ...(runs.length > 1 ? ['run'] : []),
    'step',
    'problem',
    'answer',
    'response',
    'reward',
    'tokens',
    'advantages of the steps',
  ];
  const rows = spread(all, TABLE_ROWS);
  return html`<section><details><summary><h2>Samples</h2></summary>
<p class="note">${rows.length} of the ${all.length} responses in samples.jsonl of the ${runs.length > 1 ? 'runs' : 'run'}.</p>${tableOf(head, rows)}</details></section>`;
}
