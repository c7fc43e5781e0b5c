// Every small story: up to three requests under way at once, up to two faults, a crash after every event, on
// four regions and two or three legs. One half; the other is small-2.test.ts, which may run beside it.
import { testSmallPart } from './small-part.ts';

describe('the mirror, in every small story', () => {
  testSmallPart(1, 4);
  testSmallPart(2, 4);
});
