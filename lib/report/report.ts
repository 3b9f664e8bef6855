import { basename, resolve } from 'node:path';
import type { ReportPage } from './page.js';
import { labelRuns, readRun } from './read.js';

/** What the page of these run folders shows. */
export async function readReport(paths: readonly string[]): Promise<ReportPage> {
  const runs = await Promise.all(paths.map(readRun));
  labelRuns(runs);
  return { title: paths.map((path) => basename(resolve(path))).join(', '), runs };
}
