import { type Html, html } from './html.js';
import { optionText, type ReportRun, shortHashes } from './read.js';

/** A figure as text. A missing one is empty; null is JSON's form of a number that is not finite. */
export const figure = (value: number | undefined | null, digits = 3) =>
  Number.isFinite(value) ? value!.toFixed(digits) : '';

/** A table that scrolls sideways by itself. The first cell of a row is its head. */
export function tableOf(head: readonly (string | Html)[], rows: readonly (readonly (string | Html)[])[]): Html {
  return html`<div class="scroll" tabindex="0"><table><thead><tr>${head.map((cell) => html`<th scope="col">${cell}</th>`)}</tr></thead>
<tbody>${rows.map(([first, ...cells]) => html`<tr><th scope="row">${first}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>\n`)}</tbody></table></div>`;
}

/** The options in which the runs differ, a column per label, and the others behind a click. */
export function settingsSection(runs: readonly ReportRun[]): Html {
  const labels = [...new Set(runs.map(({ label }) => label))];
  const names = [...new Set(runs.flatMap(({ options }) => Object.keys(options)))].sort();
  /** The different values among runs, as texts. */
  const valuesOf = (name: string, among: readonly ReportRun[]) => [
    ...new Set(among.map(({ options }) => optionText(options[name]))),
  ];
  const cell = (values: readonly string[]) => {
    const whole = values.join(', ');
    const text = shortHashes(whole);
    return text === whole ? text : html`<span title="${whole}">${text}</span>`;
  };
  const differ = names.filter((name) => valuesOf(name, runs).length > 1);
  const common = names.filter((name) => !differ.includes(name));
  const rows = differ.map((name) => [
    name,
    ...labels.map((label) =>
      cell(
        valuesOf(
          name,
          runs.filter((run) => run.label === label),
        ),
      ),
    ),
  ]);
  const rest = tableOf(
    ['option', 'value'],
    common.map((name) => [name, cell(valuesOf(name, runs))]),
  );
  return html`<section class="settings"><h2>Settings</h2>
${labels.length > 1 && (rows.length > 0 ? html`<p class="note">The options in which the runs differ.</p>${tableOf(['option', ...labels], rows)}` : html`<p>All runs have the same options.</p>`)}
${common.length > 0 && html`<details><summary>${labels.length > 1 ? `${common.length} options that all runs share` : 'All options'}</summary>${rest}</details>`}</section>`;
}
