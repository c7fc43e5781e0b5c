import { answeredOnce } from './c1-answered-once.ts';
import { afterEnd } from './c2-after-end.ts';
import { neighbours } from './c3-neighbours.ts';
import { nothingLeft } from './c4-nothing-left.ts';
import { allocation } from './c5-allocation.ts';
import { slots } from './c6-slots.ts';
import type { Checker } from './checker.ts';
import { mapCovers } from './d03-map.ts';
import { farewell } from './farewell.ts';
import { lossTold } from './d8-loss-told.ts';
import { flushAll } from './i04-flush-all.ts';
import { anyLegAlone } from './i05-any-leg-alone.ts';
import { staleNeverServed } from './i07-stale-never-served.ts';
import { bitsSuperset } from './i08-bits-superset.ts';
import { convergence } from './i09-convergence.ts';
import { lastCopy } from './i10-last-copy.ts';
import { splitBrain } from './i11-split-brain.ts';
import { fencing } from './i12-fencing.ts';
import { overlap } from './i13-overlap.ts';
import { boundedWait } from './i14-bounded-wait.ts';
import { metadata } from './i16-metadata.ts';
import { zeroes } from './i17-zeroes.ts';
import { resources } from './i18-resources.ts';
import { memory } from './memory.ts';
import { READ_LAWS } from './read-laws.ts';

/** What a client sees comes first, so that a failure is named after the gravest law it breaks. */
export const CHECKERS: readonly Checker[] = [
  ...READ_LAWS,
  lastCopy,
  lossTold,
  flushAll,
  anyLegAlone,
  staleNeverServed,
  bitsSuperset,
  mapCovers,
  splitBrain,
  fencing,
  farewell,
  overlap,
  boundedWait,
  metadata,
  zeroes,
  convergence,
  resources,
  memory,
  answeredOnce,
  afterEnd,
  neighbours,
  nothingLeft,
  allocation,
  slots,
];
