import { FUNCTION_ALONE } from './words.js';

/** Units, where no \text{} says what is one. */
const UNITS = new RegExp(
  `^(?:${[
    'mm|cm|dm|km|nm|in|ft|yd|mi|inch(es)?|foot|feet|yards?|miles?|met(er|re)s?|(centi|milli|kilo)met(er|re)s?',
    'sq|square|cubic|units?|sec|secs|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|months?|years?|mph|kph',
    'kg|mg|lbs?|pounds?|ounces?|oz|grams?|kilograms?|tons?|ml|mL|lit(er|re)s?|gal|gallons?|cups?|quarts?|pints?',
    'dollars?|cents?|usd|USD|euros?|rupees?|degrees?|radians?|rad|Hz|kHz|eV|keV|MeV|kJ|kW|Pa|mol|erg|ergs|AU|pc|Mpc|kpc|ly',
  ].join('|')})$`,
);
const VALUE_END = /(?:[\d})\]|!%]|\\(?:pi|infty|%)|[\d}) ][a-z])\s*$/;

/** What stands after a value and only says of what. */
export function units(s: string): string {
  for (let n = 0; n < 6; n++) {
    const unit = TEXT_UNIT.exec(s) ?? WORD_UNIT.exec(s);
    if (!unit || !VALUE_END.test(unit[1]) || !/\d|\\(?:pi|frac|sqrt|infty)/.test(unit[1])) return s;
    if (DENIAL.test(s.slice(unit[1].length))) return s;
    if (unit[2] !== undefined && !areUnits(unit[2], / $/.test(unit[1]))) return s;
    s = unit[1].trim();
  }
  return s;
}

const POWER = String.raw`(?:\s*\^\s*(?:\d|\{\s*-?\d\s*\}))?\s*[.,]?\s*$`;
const TEXT_UNIT = new RegExp(
  String.raw`^(.*?)\s*(?:[/·]|\\cdot|\\times)?\s*(?:\\text\{[^{}]*\}|\^\{\\circ\}\s*(?:[CF]|\\text\{\s*[CF]\s*\}))${POWER}`,
  's',
);
const WORD_UNIT = new RegExp(String.raw`^(.*[\d})]\s?|.*\\[a-z]+ )(?<![\\a-zA-Z])([a-zA-Z][a-zA-Z\s/.]*)${POWER}`, 's');

const PER = /^(?:k?m|cm|mi|ft|k?g|J|N|W|mol)\/(?:s|h|hr|min|sec|m?L|K|kg|mol|k?m)$/;
/** In a text after a value, these do not say of what it is; an 'and' or 'or' at its beginning is a comma by now. */
const DENIAL =
  /\b(?:not|no|wrong|incorrect|if|when|unless|except|or|than|least|most)\b|\\text\{(?:\s*,\s*[^\s}]|[^{}]*\d)/i;

/** Words all, known ones or, after a space, long enough not to be a product of variables. */
function areUnits(words: string, apart: boolean): boolean {
  if (apart && PER.test(words)) return true;
  const all = words.split(/[\s/.]+/).filter(Boolean);
  return all.every((word) => UNITS.test(word) || (apart && word.length > 2 && !FUNCTION_ALONE.test(word)));
}
