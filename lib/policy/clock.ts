// The time that chat templates tell. It is a local time as text, so that it is the same in every time zone.
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
