import type { Verdict } from '../model.ts';
import type { EndedOp, Judged } from '../tell-model.ts';
import { fail, type Checker } from './checker.ts';

/** The model has judged each sector of a read; each verdict is the business of one checker. */
export function checkVerdicts(checker: Checker, world: Judged, op: EndedOp, bad: Verdict): void {
  const index = op.verdicts.indexOf(bad);
  if (index < 0) return;
  const sector = op.sector + index;
  let got = 0;
  op.eachRead((at, value) => {
    if (at === sector) got = value;
  });
  fail(checker, `${String(op)}: sector ${sector} read ${got}, of ${world.model.describe(sector)}`);
}
