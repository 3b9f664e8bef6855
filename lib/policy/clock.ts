// The time that chat templates tell. It is a local time as text, so that it is the same in every time zone. Work that
// can be resumed keeps it beside its results: a prompt must not change at midnight, or on a resume.
import { outOfRange } from '../base/errors.js';
import { checkString } from '../base/options.js';

const FORM = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3}))?)?)?$/;

/**
 * Reads a date, or a date and time.
 *
 * @returns the local time, in the UTC fields of a Date
 * @throws RangeError that names the option
 */
export function clockTime(name: string, text: string): Date {
  const found = FORM.exec(checkString(name, text));
  const [year, month, day, hour, minute, second] = (found ?? []).slice(1, 7).map((part) => Number(part ?? 0));
  const time = new Date(
    Date.UTC(year, month - 1, day, hour, minute, second, Number((found?.[7] ?? '0').padEnd(3, '0'))),
  );
  // Date.UTC takes the 31st of February for the 3rd of March.
  if (!found || !time.toISOString().startsWith(found[0].slice(0, 10)) || hour > 23 || minute > 59 || second > 59)
    throw outOfRange(`${name} must be a local date such as 2026-07-26, or 2026-07-26T12:30:00, not '${text}'`);
  return time;
}

/** A moment as the text of a clock. */
export function clockText(moment: Date): string {
  const local = new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return local.toISOString().replace('Z', '');
}

/** When this process started: the clock of all tokenizers that have no other. */
export const PROCESS_CLOCK = clockText(new Date(performance.timeOrigin));

/** A tokenizer, as far as its clock is concerned. */
interface Clocked {
  clock: string;
  readonly readsClock: boolean;
}

/**
 * Sets the clock of a tokenizer to that of the work that is resumed, unless the caller has set another.
 *
 * @param saved the clock that was kept with the work; undefined: none was
 * @param begun when the work began, if it is older than its clock
 */
export function resumeClock(tokenizer: Clocked, saved: unknown, begun?: Date): void {
  if (tokenizer.clock !== PROCESS_CLOCK) return;
  if (typeof saved === 'string') tokenizer.clock = saved;
  else if (begun) tokenizer.clock = clockText(begun);
}

/** The clock, as settings of resumable work keep it: only where prompts depend on it. */
export const clockSetting = ({ clock, readsClock }: Clocked): { clock?: string } => (readsClock ? { clock } : {});

/**
 * The clock for work whose records are in a file with a header: that of the header, or when the file was made.
 *
 * @returns the setting for the header
 */
export function recordedClock(
  tokenizer: Clocked,
  found: { header: { clock?: unknown }; made: Date } | undefined,
): { clock?: string } {
  if (!tokenizer.readsClock) return {};
  if (found) resumeClock(tokenizer, found.header.clock, found.made);
  // A file that is older than its clock has none to compare.
  return found && found.header.clock === undefined ? {} : clockSetting(tokenizer);
}
