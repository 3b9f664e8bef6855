import { checkChoice, checkOptions, checkString } from '../../base/options.js';
import { threadModule } from '../../base/thread.js';
import { EXTRACTIONS, type Extraction } from './extract.js';
import type { MathVerdict } from './judge.js';
import { LIMITS } from './limits.js';
import { Pool } from './pool.js';
import { type Verifier, withAnswers } from './verifier.js';
import type { Question } from './worker.js';

/** Options of {@link verifyMath} and {@link mathVerifier}. */
export interface MathOptions {
  /**
   * Where the answer is. 'boxed' (default): in the last \boxed{}. 'any', for evaluation: a last line after "####" or
   * "Answer:", else the last box, else after "answer is", else the last mathematics, else the last number. 'whole': the
   * whole response.
   */
  extraction?: Extraction | undefined;
}

/** Milliseconds for one judgement. It usually takes one; the deadline is for unforeseen cases. */
const DEADLINE = 1000;

let pool: Pool<Question, MathVerdict> | undefined;

/**
 * Judges a response to a mathematical problem by the gold answer. It compares meanings, not spellings: docs/verify.md
 * lists what counts as the same.
 *
 * It runs in threads, one per core, which start at the first call. No text in a response or gold answer makes it throw.
 * A judgement takes at most one second of its thread's time.
 *
 * @returns the verdict with its reason, and the answer that was found
 * @throws TypeError for arguments that are not texts, or an unknown option
 */
export async function verifyMath(response: string, gold: string, options: MathOptions = {}): Promise<MathVerdict> {
  const extraction = extractionOf('verifyMath', options);
  checkString('response', response);
  checkString('gold', gold);
  pool ??= new Pool({
    module: threadModule('./worker', import.meta.url),
    deadline: DEADLINE,
  });
  const question = { response: relevant(response), gold: gold.slice(0, LIMITS.response), extraction };
  return (await pool.ask(question)) ?? { correct: false, reason: 'timeout' };
}

function extractionOf(where: string, options: MathOptions): Extraction {
  options = checkOptions(where, options, ['extraction']);
  return checkChoice('extraction', options.extraction ?? 'boxed', EXTRACTIONS);
}

/** The part of a response that is judged: its end, with the marks of thinking. No more is sent to the thread. */
function relevant(response: string): string {
  const end = response.length - LIMITS.response;
  if (end <= 0) return response;
  const thinks = response.lastIndexOf('<think>') > response.lastIndexOf('</think>');
  return (thinks ? '<think>' : '') + response.slice(end);
}

/**
 * A verifier that gives 1 for a right answer and 0 for any other. Its metrics are the shares of responses with an
 * answer (verify/answered), of stopped judgements (verify/timeout) and of failed ones (verify/failed).
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
