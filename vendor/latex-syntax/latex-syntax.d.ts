// What we use of latex-syntax.js, which is dist/esm-min/latex-syntax.js of @cortex-js/compute-engine, unchanged. Its first line
// has the version; CONTRIBUTING.md says how to update it.
export declare class LatexSyntax {
  /** MathJSON: numbers, strings, arrays [name, ...arguments], or objects { num }, { sym }, { fn }. */
  parse(latex: string): unknown;
}
