// What an editor shows of the published types: every option, metric and field has its own comment, and errors name the
// types of the package instead of spelling them out. This asks the compiler that typedoc uses: TypeScript 7 has no API.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FunctionPrm, Trainer } from '../lib/index.js';
import { packageRoot } from '../lib/kernels/native.js';
import { METHOD_NAMES } from '../lib/methods/index.js';
import { echoTask } from './fakes/echo-task.js';
import { TablePolicy } from './fakes/table-policy.js';

const ts = createRequire(join(packageRoot, 'tools', 'api', 'package.json'))('typescript');
const inDist = (path: string) => join(packageRoot, 'dist', 'lib', path);
const entries = ['index', 'kernels/index', 'tasks/verify/index', 'rollout/serve/index'].map((name) =>
  inDist(`${name}.d.ts`),
);
const program = ts.createProgram(entries, {
  ...{ module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, strict: true },
  ...{ target: ts.ScriptTarget.ES2022, types: ['node'], skipLibCheck: true },
});
const checker = program.getTypeChecker();

// The compiler is a package of tools/api, so its types are not here.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Any = any;
const exported: Any[] = checker
  .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entries[0])))
  .map((symbol: Any) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
const ofKind = (flags: number) => exported.filter((symbol) => symbol.flags & flags);

/** The object types that the package exports, without classes. */
const published: { name: string; type: Any }[] = ofKind(ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias).map(
  (symbol) => ({ name: symbol.name, type: checker.getDeclaredTypeOfSymbol(symbol) }),
);

/** The types of the parameters of functions, constructors and methods. */
const CALLABLE = ts.SymbolFlags.Function | ts.SymbolFlags.Class | ts.SymbolFlags.Interface;
const parameters = ofKind(CALLABLE).flatMap((symbol) => {
  const value = checker.getTypeOfSymbol(symbol);
  const instance =
    symbol.flags & ts.SymbolFlags.Function ? [] : checker.getDeclaredTypeOfSymbol(symbol).getProperties();
  const callable: [string, Any][] = [
    [symbol.name, value],
    ...[...instance, ...value.getProperties()].map((member: Any): [string, Any] => [
      `${symbol.name}.${member.name}`,
      checker.getNonNullableType(checker.getTypeOfSymbol(member)),
    ]),
  ];
  return callable.flatMap(([name, type]) =>
    [...type.getCallSignatures(), ...type.getConstructSignatures()].flatMap((signature: Any) =>
      signature.getParameters().map((parameter: Any) => ({
        name: `${name}(${parameter.name})`,
        type: checker.getNonNullableType(checker.getTypeOfSymbol(parameter)),
      })),
    ),
  );
});

const types = suite('published types');

types('every field of every type and parameter has a comment', () => {
  const undocumented: string[] = [];
  let fields = 0;
  for (const { name, type } of [...published, ...parameters]) {
    if (!(type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) || type.isClass()) continue;
    for (const field of type.getProperties()) {
      const { fileName } = field.declarations[0].getSourceFile();
      if (!fileName.startsWith(inDist(''))) continue;
      fields++;
      if (field.getDocumentationComment(checker).length === 0) undocumented.push(`${name}.${field.name}`);
    }
  }
  assert.ok(fields > 500, `only ${fields} fields were found`);
  assert.equal(undocumented, []);
});

types('options and metrics are interfaces, which errors call by their names', () => {
  for (const { name, type } of published)
    if (/(Options|Args|Setup|Metrics)$/.test(name)) {
      assert.is(checker.typeToString(type), name);
      assert.ok(type.getProperties().length > 0, name);
      const open = checker.getIndexInfosOfType(type);
      assert.is(open.length, 0, `${name} takes any name, so a misspelt one compiles`);
    }
});

types('options may be undefined, also with exactOptionalPropertyTypes', () => {
  const refused = published
    .filter(({ name }) => /(Options|Args|Setup|Batch)$/.test(name))
    .flatMap(({ name, type }) => type.getProperties().map((field: Any) => ({ name, field })))
    .filter(({ field }) => field.flags & ts.SymbolFlags.Optional)
    .map(({ name, field }) => ({ name: `${name}.${field.name}`, text: field.declarations[0].getText() as string }))
    .filter(({ text }) => !/\| undefined\b/.test(text));
  assert.equal(
    refused.map(({ name }) => name),
    [],
  );
});

types('a step has exactly the metrics of its type, with any method', async () => {
  const type = published.find(({ name }) => name === 'StepMetrics')!.type;
  const names: string[] = type.getProperties().map(({ name }: Any) => name);
  const required = names.filter((name) => !(type.getProperty(name).flags & ts.SymbolFlags.Optional));
  const processRewardModel = new FunctionPrm(({ steps }) => steps.map((_, i) => 1 / (2 + i)), {
    tokenizer: echoTask.tokenizer,
  });
  const seen = new Set<string>();
  for (const method of METHOD_NAMES) {
    const sizes = { maxSteps: 1, promptsPerStep: 2, numGenerations: 4, maxCompletionLength: 4, evalSteps: 1 };
    const trainer = new Trainer({
      ...{ policy: new TablePolicy(echoTask.tokenizer.vocabSize), task: echoTask, method, ...sizes, evalProblems: 2 },
      ...(method === 'progrs' && { processRewardModel }),
      ...(method === 'grpo' && { lossType: 'vespo' as const }),
    });
    for await (const { metrics, measures } of trainer.run()) {
      const own = Object.keys(metrics).filter((name) => !(name in measures) || names.includes(name));
      assert.equal(
        own.filter((name) => !names.includes(name)),
        [],
        method,
      );
      assert.equal(
        required.filter((name) => !(name in metrics)),
        [],
        method,
      );
      for (const [name, value] of Object.entries(measures)) assert.is(metrics[name as 'reward'], value, name);
      for (const name of own) seen.add(name);
    }
  }
  // What servers and chance add is left.
  const unseen = names.filter((name) => !seen.has(name) && !/^(sampling|seconds|vespo|advantage)\//.test(name));
  assert.equal(unseen, []);
});

types.run();
