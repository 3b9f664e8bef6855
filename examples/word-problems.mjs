// Makes files for `prl sft`, `prl train` and `prl eval` from MAWPS, SVAMP and GSM8K as people download them.
//
//   node examples/word-problems.mjs OUTPUT FILE... [--held-out 200] [--demonstrated 1] [--solutions 500] [--seed 0]
//
// The rows of a file tell what it is:
//   MAWPS   {input, target} or {sQuestion, lSolutions, lEquations}
//   SVAMP   {Body, Question, Equation, Answer}
//   GSM8K   {question, answer}, the answer a solution that ends in "#### 18"
// A file is JSON lines, or one JSON array. OUTPUT gets:
//   demonstrations.jsonl                 {prompt, completion}: equations as steps, and short GSM8K solutions.
//                                        Completions begin with a space, since the template's prompt ends in "Answer:"
//   train.jsonl                          {question, answer}: the problems of MAWPS and SVAMP that are not held out
//   mawps-test.jsonl, svamp-test.jsonl   {question, answer}: held-out problems, of which no copy is in the others
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const KINDS = ['MAWPS', 'SVAMP', 'GSM8K'];
/** Two problems with the same numbers and answer are copies if their words overlap by this share (Jaccard). */
const OVERLAP = 0.8;

const OPERATIONS = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
};

/** Rows of a file: an array, or one object per line. */
function rowsOf(file) {
  const text = readFileSync(file, 'utf8').trim();
  if (text.startsWith('[')) return JSON.parse(text);
  return text.split('\n').map((line, i) => {
    try {
      return JSON.parse(line);
    } catch {
      throw new Error(`${file}:${i + 1} is not JSON`);
    }
  });
}

/** 43.0 and "1,000" as texts: 43 and 1000. undefined: not a number */
function numberText(value) {
  const number = typeof value === 'string' ? Number(value.replaceAll(',', '').trim() || Number.NaN) : value;
  return Number.isFinite(number) ? String(Number(number.toPrecision(12))) : undefined;
}

/** Some files have spaces before punctuation. */
const tidy = (text) =>
  text
    .replace(/\s+/g, ' ')
    .replace(/ (?=(?:[.,?!;:]|'s)(?: |$))/g, '')
    .trim();

/** {kind, question, answer, completion?} of a row; undefined if it has none of the forms above. */
export function problemOf(row) {
  if ('input' in row && 'target' in row) return mawps(row.input, row.target);
  if ('sQuestion' in row && 'lSolutions' in row) return mawps(row.sQuestion, row.lSolutions[0], row.lEquations?.[0]);
  if ('Body' in row && 'Question' in row && 'Equation' in row && 'Answer' in row) {
    const [body, answer] = [tidy(row.Body), numberText(row.Answer)];
    const question = `${/[.?!]$/.test(body) ? body : `${body}.`} ${tidy(row.Question)}`;
    return { kind: 'SVAMP', question, answer, completion: stepsOf(row.Equation, answer) };
  }
  if (typeof row.question === 'string' && typeof row.answer === 'string' && row.answer.includes('####')) {
    const [solution, answer] = row.answer
      .replace(/<<[^>]*>>/g, '')
      .split('####')
      .map((part) => part.trim());
    return {
      kind: 'GSM8K',
      question: tidy(row.question),
      answer: numberText(answer),
      completion: `${solution}\n#### ${answer}`,
    };
  }
  return undefined;
}

function mawps(text, target, equation = '') {
  const [question, answer] = [tidy(text), numberText(target)];
  const right = /^\s*x\s*=(.*)/i.exec(equation)?.[1];
  const completion = (right && stepsOf(right, answer)) ?? stepsOf(formulaOf(question, answer) ?? '', answer);
  return { kind: 'MAWPS', question, answer, completion };
}

/**
 * The formula of two or three numbers of a problem that gives its answer: "( 70 - 27 )", "( ( 13 + 5 ) - 10 )".
 * undefined if there is none, or if there are two that would differ for other numbers.
 */
export function formulaOf(question, answer) {
  const numbers = (question.match(/\d+(?:,\d{3})+|\d+(?:\.\d+)?/g) ?? []).map((x) => Number(x.replaceAll(',', '')));
  if (numbers.length < 2 || numbers.length > 3) return undefined;
  // Formulas are told apart by what they give for these.
  const others = [7.13, 3.57, 11.9];
  const leaves = numbers.map((x, i) => ({ text: String(x), values: [x, others[i]], used: [i] }));
  const join = (a, b) =>
    Object.entries(OPERATIONS).map(([sign, apply]) => ({
      text: `( ${a.text} ${sign} ${b.text} )`,
      values: a.values.map((x, k) => apply(x, b.values[k])),
      used: [...a.used, ...b.used],
    }));
  const pairs = (as, bs) =>
    as.flatMap((a) => bs.flatMap((b) => (a.used.some((i) => b.used.includes(i)) ? [] : join(a, b))));
  const once = pairs(leaves, leaves);
  const twice = [...pairs(once, leaves), ...pairs(leaves, once)];
  const hits = [...once, ...twice].filter(({ values }) => Math.abs(values[0] - Number(answer)) <= 1e-9);
  return hits.every(({ values }) => Math.abs(values[1] - hits[0].values[1]) <= 1e-9) ? hits[0]?.text : undefined;
}

/**
 * "( ( 3.0 + 4.0 ) * 2.0 )" as lines: 3 + 4 = 7, 7 * 2 = 14, #### 14. undefined if a result has no short decimal form,
 * or the last one is not the answer.
 */
export function stepsOf(equation, answer) {
  const tokens = equation.match(/\d+(?:\.\d+)?|[-+*/()]|\S/g) ?? [];
  const lines = [];
  const compute = (a, sign, b) => {
    const exact = OPERATIONS[sign](a, b);
    const result = Number(exact.toFixed(4));
    if (!(Math.abs(exact - result) <= 1e-9 * Math.max(1, Math.abs(exact)))) throw new RangeError('no short decimal');
    lines.push(`${a} ${sign} ${b} = ${result}`);
    return result;
  };
  const operand = () => {
    const token = tokens.shift();
    if (token !== '(') return Number(token);
    const value = sum();
    return tokens.shift() === ')' ? value : Number.NaN;
  };
  const chain = (part, signs) => () => {
    let value = part();
    while (signs.includes(tokens[0])) value = compute(value, tokens.shift(), part());
    return value;
  };
  const sum = chain(chain(operand, ['*', '/']), ['+', '-']);
  try {
    const result = sum();
    return tokens.length === 0 && String(result) === answer ? [...lines, `#### ${answer}`].join('\n') : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Removes problems that are copies of earlier ones: the same numbers and answer, and nearly the same words. */
export function distinct(problems) {
  const seen = new Map();
  return problems.filter(({ question, answer }) => {
    const text = question.normalize('NFKC').toLowerCase();
    const key = `${(text.match(/\d+(?:[.,]\d+)*/g) ?? []).sort()} = ${answer}`;
    const words = new Set(text.match(/\p{L}+/gu));
    const others = seen.get(key) ?? [];
    if (others.some((other) => overlap(words, other) >= OVERLAP)) return false;
    seen.set(key, [...others, words]);
    return true;
  });
}

function overlap(a, b) {
  const common = [...a].filter((word) => b.has(word)).length;
  return common / (a.size + b.size - common || 1);
}

/** `count` of the numbers 0 .. length - 1, by chance (mulberry32). */
function choose(length, count, seed) {
  const order = Array.from({ length }, (_, i) => i);
  let state = seed >>> 0;
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < count; i++) {
    const j = i + Math.floor(random() * (length - i));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return new Set(order.slice(0, count));
}

/**
 * @param problems those of all files, from problemOf
 * @param options.demonstrated share of the training problems with an equation that get a demonstration
 * @returns the rows of each file of OUTPUT, and counts of each kind
 */
export function divide(problems, { heldOut = 200, demonstrated = 1, solutions = 500, seed = 0 } = {}) {
  const files = { 'demonstrations.jsonl': [], 'train.jsonl': [] };
  const counts = {};
  const demonstrate = ({ question, completion }) =>
    files['demonstrations.jsonl'].push({ prompt: question, completion: ` ${completion}` });
  const ofKind = (kind) => problems.filter((problem) => problem.kind === kind);
  // GSM8K comes last, so that a copy in it goes.
  const kept = distinct(KINDS.flatMap(ofKind));
  for (const kind of KINDS) {
    const mine = kept.filter((problem) => problem.kind === kind);
    const copies = ofKind(kind).length - mine.length;
    if (mine.length === 0) continue;
    if (kind === 'GSM8K') {
      const short = mine.sort((a, b) => a.completion.length - b.completion.length).slice(0, solutions);
      short.forEach(demonstrate);
      counts[kind] = { problems: mine.length, copies, solutions: short.length };
      continue;
    }
    if (mine.length <= heldOut)
      throw new Error(`${kind} has ${mine.length} problems, too few to hold ${heldOut} out: set --held-out`);
    const held = choose(mine.length, heldOut, seed);
    const part = (inside) => mine.filter((_, i) => held.has(i) === inside);
    const rows = (list) => list.map(({ question, answer }) => ({ question, answer }));
    files[`${kind.toLowerCase()}-test.jsonl`] = rows(part(true));
    files['train.jsonl'].push(...rows(part(false)));
    const known = part(false).filter(({ completion }) => completion);
    const some = choose(known.length, Math.round(demonstrated * known.length), seed);
    const shown = known.filter((_, i) => some.has(i));
    shown.forEach(demonstrate);
    counts[kind] = { problems: mine.length, copies, heldOut, solutions: shown.length };
  }
  return { files, counts };
}

function main() {
  const number = (text) => {
    if (/^\d+$/.test(text)) return Number(text);
    throw new Error(`'${text}' must be a whole number`);
  };
  const share = (text) => {
    if (/^(0|1|0?\.\d+)$/.test(text)) return Number(text);
    throw new Error(`--demonstrated must be a share from 0 to 1, not '${text}'`);
  };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'held-out': { type: 'string', default: '200' },
      demonstrated: { type: 'string', default: '1' },
      solutions: { type: 'string', default: '500' },
      seed: { type: 'string', default: '0' },
    },
  });
  const [output, ...sources] = positionals;
  if (sources.length === 0)
    throw new Error(
      'node word-problems.mjs OUTPUT FILE... [--held-out 200] [--demonstrated 1] [--solutions 500] [--seed 0]',
    );
  const problems = sources.flatMap((file) => {
    const found = rowsOf(file).map((row, i) => {
      const problem = problemOf(row);
      if (!problem)
        throw new Error(`${file}, row ${i + 1}: fields ${Object.keys(row)} are not of MAWPS, SVAMP or GSM8K`);
      return problem;
    });
    const usable = found.filter(({ answer }) => answer !== undefined);
    const left = found.length - usable.length;
    console.log(
      `${file}: ${found.length} of ${found[0]?.kind}${left > 0 ? `, ${left} without a number as answer left out` : ''}`,
    );
    return usable;
  });
  const options = {
    heldOut: number(values['held-out']),
    demonstrated: share(values.demonstrated),
    solutions: number(values.solutions),
    seed: number(values.seed),
  };
  const { files, counts } = divide(problems, options);
  for (const [kind, { problems, copies, heldOut, solutions }] of Object.entries(counts))
    console.log(
      `${kind}: ${problems} problems, ${copies} copies left out${heldOut === undefined ? '' : `, ${heldOut} held out`}, ${solutions} demonstrations`,
    );
  mkdirSync(output, { recursive: true });
  for (const [file, rows] of Object.entries(files)) {
    writeFileSync(join(output, file), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    console.log(`${join(output, file)}: ${rows.length} rows`);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  try {
    main();
  } catch (error) {
    console.error(`word-problems: ${error.message}`);
    process.exitCode = 1;
  }
