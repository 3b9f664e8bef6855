import { resolve } from 'node:path';
import { invalidArgument, PrlError } from '../../base/errors.js';
import { type CompareRequest, readRequest } from '../compare/plan.js';
import { comparisonPage, readComparison } from '../compare/write.js';
import type { ReportPage } from './page.js';
import { labelRuns, readRun } from './read.js';

/** Reads the contents of the page of these run folders. */
export async function readReport(paths: readonly string[]): Promise<ReportPage> {
  // A comparison has a page of its own.
  for (const path of paths) {
    const request = await readRequest(path);
    if (!request) continue;
    if (paths.length > 1)
      throw invalidArgument(
        `a comparison must be the only folder, and ${path} is one: name it alone, or name runs in ${path}/cells`,
      );
    return comparisonOf(resolve(path), request);
  }
  const runs = await Promise.all(paths.map(readRun));
  labelRuns(runs);
  return { title: [...new Set(runs.map(({ label }) => label))].join(', '), runs };
}

async function comparisonOf(path: string, request: CompareRequest): Promise<ReportPage> {
  const page = await comparisonPage(await readComparison(path, request));
  if (page.runs.length === 0)
    throw new PrlError('ERR_PRL_IO', `a report needs a finished step, and the comparison in ${path} has none yet`);
  return page;
}
