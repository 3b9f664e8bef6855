import { checkChoice, checkOptions, checkString } from '../../base/options.js';
import { EXTRACTIONS, type Extraction } from './extract.js';
import type { MathVerdict } from './judge.js';
import { LIMITS } from './limits.js';
import { Pool } from './pool.js';
import { type Verifier, withAnswers } from './verifier.js';
import type { Question } from './worker.js';

/** Options of {@link verifyMath} and {@link mathVerifier}. */
export interface MathOptions {
  /**
   * Where the answer is looked for: 'boxed' (default) in the last \boxed{}; 'any', for evaluation, without a box after the last
   * "answer is", in the last $...$, or in the last number; 'whole': all of the response is the answer.
   */
  extraction?: Extraction;
}

/** Milliseconds for one judgement. It takes one, as a rule; the deadline is for what nobody has thought of. */
const DEADLINE = 1000;

let pool: Pool<Question, MathVerdict> | undefined;

/**
 * Judges the answer in a response to a mathematical problem by the gold answer: by what it says, not by how that is written.
 * See docs/verify.md for what counts as the same.
 *
 * Runs in threads, one per core, that are started when they are first needed. It never throws for what a response or a gold
 * answer holds, and never takes longer than a second once a thread has begun.
 */
export async function verifyMath(response: string, gold: string, options: MathOptions = {}): Promise<MathVerdict> {
  const extraction = extractionOf('verifyMath', options);
  checkString('response', response);
  checkString('gold', gold);
  pool ??= new Pool({
    module: new URL('./worker', import.meta.url),
    deadline: DEADLINE,
  });
  const question = { response: relevant(response), gold: gold.slice(0, LIMITS.response), extraction };
  return (await pool.ask(question)) ?? { correct: false, reason: 'timeout' };
}

function extractionOf(where: string, options: MathOptions): Extraction {
  options = checkOptions(where, options, ['extraction']);
  return checkChoice('extraction', options.extraction ?? 'boxed', EXTRACTIONS);
}

/** What is looked at, so that no more goes to the thread: the marks of thinking, and the end. */
function relevant(response: string): string {
  const end = response.length - LIMITS.response;
  if (end <= 0) return response;
  const thinks = response.lastIndexOf('<think>') > response.lastIndexOf('</think>');
  return (thinks ? '<think>' : '') + response.slice(end);
}

/**
 * A verifier that gives 1 for a right answer and 0 for any other. The metrics say which share of the responses gave an answer
 * (verify/answered) and how many judgements were stopped or failed (verify/timeout, verify/failed).
 */
export function mathVerifier(options: MathOptions = {}): Verifier {
  const extraction = extractionOf('mathVerifier', options);
  const verify: Verifier = async (response, gold) => {
    const { correct, reason } = await verifyMath(response, gold, { extraction });
    return {
      reward: correct ? 1 : 0,
      measures: {
        'verify/answered': reason === 'noAnswer' ? 0 : 1,
        'verify/timeout': reason === 'timeout' ? 1 : 0,
        'verify/failed': reason === 'failed' ? 1 : 0,
      },
    };
  };
  return withAnswers(verify, extraction);
}
