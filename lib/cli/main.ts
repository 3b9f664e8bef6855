#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { closest } from 'fastest-levenshtein';
import { checkEnvironment } from '../base/environment.js';
import { packageRoot } from '../kernels/native.js';
import { type Command, commandOptions, helpOf, parseOptions } from './kit/args.js';
import { Interrupt } from './kit/interrupt.js';
import { spelled, spellOptions } from './kit/spelling.js';

/** Each command is loaded on demand, so that `prl doctor` and `--help` work without the addon. */
const COMMANDS: Record<string, { summary: string; load: () => Promise<Command> }> = {
  sft: {
    summary: 'fine-tune a model on demonstrations',
    load: async () => (await import('./commands/sft.js')).sftCommand,
  },
  train: {
    summary: 'train a policy: warm start, evaluation, reinforcement learning, evaluation',
    load: async () => (await import('./commands/train.js')).trainCommand,
  },
  eval: {
    summary: 'measure average@n, pass@k and maj@n of a model, or of responses, on datasets or held-out problems',
    load: async () => (await import('./commands/eval.js')).evalCommand,
  },
  generate: {
    summary: 'sample responses to a prompt',
    load: async () => (await import('./commands/generate.js')).generateCommand,
  },
  serve: {
    summary: "serve a model over HTTP for rollouts, with vLLM's /v1/completions",
    load: async () => (await import('./commands/serve.js')).serveCommand,
  },
  compare: {
    summary: 'train with several methods and seeds, and compare the results',
    load: async () => (await import('./commands/compare.js')).compareCommand,
  },
  report: {
    summary: 'make an HTML page of one or more runs: curves, histograms, credit of each step',
    load: async () => (await import('./commands/report.js')).reportCommand,
  },
  'prm collect': {
    summary: 'sample responses and continue their steps: data for a process reward model',
    load: async () => (await import('./commands/prm-collect.js')).prmCollectCommand,
  },
  'prm train': {
    summary: 'train a process reward model on collected data',
    load: async () => (await import('./commands/prm-train.js')).prmTrainCommand,
  },
  'prm eval': {
    summary: 'measure how well a process reward model predicts which responses end right',
    load: async () => (await import('./commands/prm-eval.js')).prmEvalCommand,
  },
  bench: {
    summary: 'measure the kernels beside a memory copy and PyTorch',
    load: async () => (await import('./commands/bench.js')).benchCommand,
  },
  doctor: {
    summary: 'show what this installation can use and what is missing',
    load: async () => (await import('./commands/doctor.js')).doctorCommand,
  },
};

/** Errors of the caller. Their exit code is 2. */
const USAGE = ['ERR_PRL_INVALID_ARGUMENT', 'ERR_PRL_OUT_OF_RANGE', 'ERR_PRL_UNKNOWN_OPTION'];

function help(commands = Object.entries(COMMANDS)): string {
  const rows = commands.map(([name, { summary }]) => `  ${name.padEnd(13)}${summary}`);
  return [
    'Trains reasoning policies with process rewards.',
    '',
    '  prl COMMAND [options]',
    '',
    ...rows,
    '',
    "'prl COMMAND --help' lists a command's options, --help --all every one. --no-SWITCH turns off a switch that is on.",
  ].join('\n');
}

async function main(argv: string[]): Promise<number> {
  // Some commands have two words.
  const group = Object.entries(COMMANDS).filter(([command]) => command.startsWith(`${argv[0]} `));
  const isOption = argv[1] === undefined || argv[1].startsWith('-');
  if (group.length > 0 && isOption) {
    console.log(help(group));
    return argv[1] === undefined ? 2 : 0;
  }
  const words = group.length > 0 ? 2 : 1;
  const name = argv.length > 0 ? argv.slice(0, words).join(' ') : undefined;
  const rest = argv.slice(words);
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    console.log(help());
    return name === undefined ? 2 : 0;
  }
  if (name === '--version' || name === '-v') {
    console.log(JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')).version);
    return 0;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    console.error(
      `prl: there is no command '${name}'. Did you mean '${closest(name, Object.keys(COMMANDS))}'? 'prl --help' lists them.`,
    );
    return 2;
  }
  const command = await COMMANDS[name].load();
  if (rest.includes('--help') || rest.includes('-h')) {
    console.log(helpOf(command, { all: rest.includes('--all') }));
    return 0;
  }
  spellOptions(commandOptions(command));
  // The doctor reports what is wrong with them.
  if (name !== 'doctor') checkEnvironment();
  return command.run(parseOptions(command, rest));
}

// The reader of a pipe may close it (| head). The work continues.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });

try {
  // process.exit would lose output that is not written yet.
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const { code, message, stack } = error as Error & { code?: string };
  if (Interrupt.current?.isCause(error)) process.exitCode = Interrupt.current.exitCode;
  else {
    console.error(process.env.PRL_DEBUG ? stack : `prl: ${spelled(message)}`);
    process.exitCode = code !== undefined && USAGE.includes(code) ? 2 : 1;
  }
}
