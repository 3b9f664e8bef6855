// The table of methods. It decides the choices of `method`, the trainer's options and checks, and what the trainer
// prepares.
import { frpo } from './frpo.js';
import { grpo } from './grpo.js';
import type { Need } from './method.js';
import { prl } from './prl.js';
import { progrs } from './progrs.js';
import { raft } from './raft.js';

/** Every method by its name, in the order of the help. */
export const METHODS = { prl, frpo, progrs, grpo, raft };
export type MethodName = keyof typeof METHODS;

export const METHOD_NAMES = Object.keys(METHODS) as MethodName[];
export const methodNeeds = (name: MethodName, what: Need): boolean => METHODS[name].needs.includes(what);

const described = Object.entries(METHODS).map(([name, { doc }]) => `${name} (${doc})`);
/** List for the help: "prl (its doc), frpo (...) or raft (...)". */
export const METHOD_DOCS = `${described.slice(0, -1).join(', ')} or ${described[described.length - 1]}`;

type Joined<Tables> = (Tables extends unknown ? (table: Tables) => void : never) extends (all: infer All) => void
  ? All
  : never;
/** The options of all methods in one table. Their names are distinct. */
export const METHOD_OPTIONS: Joined<(typeof METHODS)[MethodName]['options']> = Object.assign(
  {},
  ...Object.values(METHODS).map(({ options }) => options),
);
