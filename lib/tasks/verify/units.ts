import { FUNCTION_ALONE } from './functions.js';

/** Units that can be converted: what they measure, how much of it, and their names. */
const CONVERTIBLE: readonly (readonly [quantity: string, factor: string, names: string])[] = [
  ['length', '0.000000001', 'nm nanometer nanometre'],
  ['length', '0.001', 'mm millimeter millimetre'],
  ['length', '0.01', 'cm centimeter centimetre'],
  ['length', '0.1', 'dm decimeter decimetre'],
  ['length', '1', 'm meter metre'],
  ['length', '1000', 'km kilometer kilometre'],
  ['length', '0.0254', 'in inch inche'],
  ['length', '0.3048', 'ft foot feet'],
  ['length', '0.9144', 'yd yard'],
  ['length', '1609.344', 'mi mile'],
  ['time', '1', 's sec second'],
  ['time', '60', 'min minute'],
  ['time', '3600', 'h hr hour'],
  ['time', '86400', 'day'],
  ['time', '604800', 'week'],
  ['mass', '0.001', 'mg milligram'],
  ['mass', '1', 'g gram'],
  ['mass', '1000', 'kg kilogram'],
  ['volume', '0.001', 'ml mL milliliter millilitre'],
  ['volume', '1', 'l L liter litre'],
  ['money', '0.01', 'cent'],
  ['money', '1', 'dollar usd USD'],
];
const FACTORS = new Map(
  CONVERTIBLE.flatMap(([quantity, factor, names]) =>
    names.split(' ').map((name) => [name, { quantity, factor }] as const),
  ),
);

/** Others, which are only known as units. */
const OTHERS = new Set(
  [
    'sq square cubic unit mph kph month year lb pound ounce oz ton gal gallon cup quart pint euro rupee degree radian',
    'rad Hz kHz MHz eV keV MeV GeV kJ kW Pa kPa mol erg AU pc Mpc kpc ly yuan rmb N J W V K C F A T H per percent pct',
    'cc kmph km/h kcal cal ohm newton joule watt volt ampere kelvin celsius fahrenheit pascal hertz acre hectare',
  ].flatMap((line) => line.split(' ')),
);
const singular = (word: string) => (FACTORS.has(word) || OTHERS.has(word) ? word : word.replace(/s$/, ''));
const isUnit = (word: string) => isKnown(singular(word)) || (word.length > 1 && isKnown(singular(word.toLowerCase())));
const isKnown = (word: string) => FACTORS.has(word) || OTHERS.has(word);

/** A letter that is a unit where it stands upright after a value. */
export const isUnitLetter = (letter: string) => isKnown(letter);

const VALUE_END = /(?:[\d})\]|!%]|\d\.|\\(?:pi|infty|%)|[\d}) ][a-z])\s*$/;
const POWER = String.raw`(?:\s*\^\s*(?:\d|\{\s*-?\d\s*\}))?\s*[.,]?\s*$`;
const TEXT_UNIT = new RegExp(
  String.raw`^(.*?)\s*(?:[/·]|\\cdot|\\times)?\s*(?:\\text\{([^{}]*)\}|\^\{\\circ\}\s*(?:[CF]|\\text\{\s*[CF]\s*\}))${POWER}`,
  's',
);
const WORD_UNIT = new RegExp(String.raw`^(.*[\d})]\s?|.*\\[a-z]+ )(?<![\\a-zA-Z])([a-zA-Z][a-zA-Z\s/.]*)${POWER}`, 's');

/** Chinese words for units and counters; not those for powers of ten. */
const HAN_UNIT = /^(.*[\d})%])\s*(?![百千万亿](?![克米瓦]))\p{Script=Han}+\s*$/su;

const PER = /^(?:k?m|cm|mi|ft|k?g|J|N|W|mol)\/(?:s|h|hr|min|sec|m?L|K|kg|mol|k?m)$/;
/** In a text after a value, these do not say of what it is; an 'and' or 'or' at its beginning is a comma by now. */
const DENIAL =
  /\b(?:not|no|wrong|incorrect|if|when|unless|except|or|than|least|most)\b|\\text\{\s*[,;]\s*[^\s}]|^\s*to\b|\\text\{\s*to\b/i;
/** These make another number of the value. */
const OPERATION =
  /\b(?:squared?s?|cubed?|factorial|hal(?:f|ves)|thirds?|quarter|fourths?|fifths?|sixths?|tenths?|hundredths?|thousandths?|roots?|over|pi|plus|minus|times|divided|multiplied|mod|modulo|choose|double|twice|inverse|reciprocal|power|base|negative|(?:hundred|thousand|[mbtr]+illion|dozen)s?)\b(?!\s+(?:units?|cent\w*|met\w*|feet|foot|inch\w*|k?m|cm|mm|ft|in|yards?|miles?)\b)/i;

/** What stands after a value and says of what it is: the value, and those words. */
export function units(s: string): { value: string; unit: string } {
  let [value, unit] = [s, ''];
  for (let n = 0; n < 6; n++) {
    const match = TEXT_UNIT.exec(value) ?? WORD_UNIT.exec(value) ?? HAN_UNIT.exec(value);
    if (!match || !VALUE_END.test(match[1]) || !/\d|\\(?:pi|frac|sqrt|infty)/.test(match[1])) break;
    const words = value.slice(match[1].length);
    const said = match[2] ?? '';
    if (DENIAL.test(words) || OPERATION.test(words) || (/\d/.test(said) && !areUnits(said, true))) break;
    const isText = words.includes('\\text{');
    if (!isText && match[2] !== undefined && !areUnits(said, / $/.test(match[1]))) break;
    if (isText && /^\s*[a-zA-Z]\s*$/.test(said) && !isUnit(said.trim())) break;
    value = match[1].trim();
    unit = `${words} ${unit}`;
  }
  return { value, unit: unit.trim() };
}

/** Words all, known ones or, after a space, long enough not to be a product of variables. */
function areUnits(words: string, apart: boolean): boolean {
  if (apart && PER.test(words)) return true;
  const all = words.split(/[\s/.·*]+/).map((word) => word.replace(/\^?-?\d$/, ''));
  return all
    .filter(Boolean)
    .every(
      (word) => isUnit(word) || (apart && word.length > 2 && /^[a-zA-Z]+$/.test(word) && !FUNCTION_ALONE.test(word)),
    );
}

/** Words that say nothing of what a number counts. */
const EMPTY = new Set(
  'the a an of in are is total st nd rd th gon each about approximately nearest integer whole number'.split(' '),
);

function wordsOf(unit: string): string[] {
  const all = unit
    .replace(/\\text|\^\{?-?\d\}?/g, ' ')
    .split(/[^\p{L}]+/u)
    .filter(Boolean)
    .map((word) => (word.length > 1 ? word.toLowerCase() : word));
  const others = all.filter((word) => !EMPTY.has(word));
  return others.every(isUnit)
    ? []
    : others.map((word) => (isUnit(word) && word.length > 1 ? '' : singular(word))).filter(Boolean);
}

/** Whether two values may be of the same: units are no words, and of two phrases one holds the other. */
export function sameWords(a: string, b: string): boolean {
  if (a === '' || b === '') return true;
  // N and S are directions, even if N is a unit as well.
  const compass = [a, b].map((unit) => unit.match(/(?<![a-zA-Z])[NSEW](?![a-zA-Z])/g)?.join(''));
  if (compass[0] && compass[1]) return compass[0] === compass[1];
  const [short, long] = [wordsOf(a), wordsOf(b)].sort((x, y) => x.length - y.length);
  let at = 0;
  for (const word of long) if (word === short[at]) at++;
  return at === short.length;
}

/**
 * By what each of two values is multiplied before they are compared; undefined where their units are none of a kind.
 */
export function conversion(a: string, b: string): readonly [string, string] | undefined {
  if (a === '' || b === '') return undefined;
  const [x, y] = [a, b].map((unit) => {
    const [word, ...more] = unit
      .replace(/\\text/g, ' ')
      .split(/[^\p{L}]+/u)
      .filter(Boolean);
    return more.length > 0 || word === undefined || /[\^/]/.test(unit)
      ? undefined
      : (FACTORS.get(singular(word)) ?? FACTORS.get(singular(word.toLowerCase())));
  });
  return x && y && x.quantity === y.quantity && x.factor !== y.factor ? [x.factor, y.factor] : undefined;
}

const COMPOUND =
  /^\s*(\d+)\s*(?:\\text\{\s*([a-zA-Z]+)\s*\}|([a-zA-Z]+))\s*,?\s*(\d+)\s*(?:\\text\{\s*([a-zA-Z]+)\s*\}|([a-zA-Z]+))\s*$/;

/** 1 hour 30 minutes as 90 minutes. */
export function compound(s: string): string {
  const match = COMPOUND.exec(s);
  const large = match && FACTORS.get(singular(match[2] ?? match[3]));
  const small = match && FACTORS.get(singular(match[5] ?? match[6]));
  if (!large || !small || large.quantity !== small.quantity) return s;
  const ratio = Number(large.factor) / Number(small.factor);
  return ratio > 1 ? `${Math.round(ratio) * Number(match[1]) + Number(match[4])}\\text{ ${match[5] ?? match[6]}}` : s;
}
