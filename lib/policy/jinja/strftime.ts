// strftime of C in the locale C, with the flags of glibc, as Python on Linux has it.
import { TemplateError } from './values.js';

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June', 'July'],
  ...['August', 'September', 'October', 'November', 'December'],
];
/** Codes that stand for several others. */
const COMPOUND: { [code: string]: string } = {
  ...{ c: '%a %b %e %H:%M:%S %Y', D: '%m/%d/%y', F: '%Y-%m-%d', r: '%I:%M:%S %p', R: '%H:%M', T: '%H:%M:%S' },
  ...{ x: '%m/%d/%y', X: '%H:%M:%S' },
};

/** The days of the year before this one. */
function dayOfYear(time: Date): number {
  const begin = Date.UTC(time.getUTCFullYear(), 0, 1);
  return Math.floor((time.getTime() - begin) / 86_400_000);
}

/** Week of ISO 8601 and its year. */
function isoWeek(time: Date): { year: number; week: number } {
  const thursday = new Date(time.getTime());
  thursday.setUTCDate(time.getUTCDate() + 4 - (time.getUTCDay() || 7));
  return { year: thursday.getUTCFullYear(), week: Math.floor(dayOfYear(thursday) / 7) + 1 };
}

type Field = { value: number; width: number; pad: string } | string;

function field(code: string, time: Date): Field | undefined {
  const [year, month, day] = [time.getUTCFullYear(), time.getUTCMonth(), time.getUTCDate()];
  const [hour, minute, second, weekday] = [
    time.getUTCHours(),
    time.getUTCMinutes(),
    time.getUTCSeconds(),
    time.getUTCDay(),
  ];
  const number = (value: number, width: number, pad = '0') => ({ value, width, pad });
  switch (code) {
    case 'a':
      return DAYS[weekday].slice(0, 3);
    case 'A':
      return DAYS[weekday];
    case 'b':
    case 'h':
      return MONTHS[month].slice(0, 3);
    case 'B':
      return MONTHS[month];
    case 'C':
      return number(Math.floor(year / 100), 2);
    case 'd':
      return number(day, 2);
    case 'e':
      return number(day, 2, ' ');
    case 'g':
      return number(isoWeek(time).year % 100, 2);
    case 'G':
      return number(isoWeek(time).year, 1);
    case 'H':
      return number(hour, 2);
    case 'I':
      return number(hour % 12 || 12, 2);
    case 'j':
      return number(dayOfYear(time) + 1, 3);
    case 'k':
      return number(hour, 2, ' ');
    case 'l':
      return number(hour % 12 || 12, 2, ' ');
    case 'm':
      return number(month + 1, 2);
    case 'M':
      return number(minute, 2);
    case 'n':
      return '\n';
    case 'p':
      return hour < 12 ? 'AM' : 'PM';
    case 'P':
      return hour < 12 ? 'am' : 'pm';
    case 's':
      return number(new Date(year, month, day, hour, minute, second).getTime() / 1000, 1);
    case 'S':
      return number(second, 2);
    case 't':
      return '\t';
    case 'u':
      return number(weekday || 7, 1);
    case 'U':
      return number(Math.floor((dayOfYear(time) + 7 - weekday) / 7), 2);
    case 'V':
      return number(isoWeek(time).week, 2);
    case 'w':
      return number(weekday, 1);
    case 'W':
      return number(Math.floor((dayOfYear(time) + 7 - ((weekday + 6) % 7)) / 7), 2);
    case 'y':
      return number(year % 100, 2);
    case 'Y':
      return number(year, 1);
    // A time without a zone has no name and no offset.
    case 'z':
    case 'Z':
      return '';
    case '%':
      return '%';
  }
}

const PADS: { [flag: string]: string } = { _: ' ', '-': '', '0': '0' };

/** @param time a local time, in the UTC fields of a Date */
export function strftime(format: string, time: Date): string {
  return format.replace(
    /%([-_0^#]*)(\d*)([EO]?)(.)/gsu,
    (whole, flags: string, width: string, _: string, code: string) => {
      if (code === 'f' && whole === '%f') return `${String(time.getUTCMilliseconds()).padStart(3, '0')}000`;
      const found = COMPOUND[code] ? strftime(COMPOUND[code], time) : field(code, time);
      if (found === undefined) throw new TemplateError(`the code ${whole} of strftime_now is not supported`);
      const pad = [...flags].reverse().find((flag) => PADS[flag] !== undefined);
      let text: string;
      let fill: string;
      if (typeof found === 'string') {
        text = found;
        fill = pad === '0' ? '0' : ' ';
      } else {
        fill = pad === undefined ? found.pad : PADS[pad];
        text = String(found.value).padStart(fill === '' ? 0 : found.width, fill || ' ');
      }
      if (width !== '' && code !== 'z') text = text.padStart(Math.min(Number(width), 1000), fill || ' ');
      if (flags.includes('^') && code !== 'P') text = text.toUpperCase();
      if (flags.includes('#') && code !== 'P' && !COMPOUND[code])
        text = code === 'p' || code === 'Z' ? text.toLowerCase() : text.toUpperCase();
      return text;
    },
  );
}
