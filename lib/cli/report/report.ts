import { basename, resolve } from 'node:path';
import { invalidArgument, PrlError } from '../../base/errors.js';
import { type CompareRequest, readRequest } from '../compare/plan.js';
import { comparisonPage, readComparison } from '../compare/write.js';
import type { ReportPage } from './page.js';
import { labelRuns, readRun } from './read.js';

/** What the page of these run folders shows. */
export async function readReport(paths: readonly string[]): Promise<ReportPage> {
  // A comparison is shown by itself.
  for (const path of paths) {
    const request = await readRequest(path);
    if (!request) continue;
    if (paths.length > 1)
      throw invalidArgument(
        `${path} is a comparison, which has a page of its own: name it alone, or runs in ${path}/cells`,
      );
    return comparisonOf(resolve(path), request);
  }
  const runs = await Promise.all(paths.map(readRun));
  labelRuns(runs);
  return { title: paths.map((path) => basename(resolve(path))).join(', '), runs };
}

async function comparisonOf(path: string, request: CompareRequest): Promise<ReportPage> {
  const page = await comparisonPage(await readComparison(path, request));
  if (page.runs.length === 0)
    throw new PrlError('ERR_PRL_IO', `the comparison in ${path} has no finished step yet: there is nothing to report`);
  return page;
}
