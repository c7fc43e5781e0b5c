import { SimFailure } from '../failure.ts';
import type { Checker } from './checker.ts';

/** It looks at each write of a dead daemon as it lands; the fence it judges is `World.fence`. */
export const fencing: Checker = {
  name: 'I12',
  sentence: 'no write of an earlier daemon lands after the first acknowledgement of a later one',
};

export function checkGhost(disk: string, block: number, isTold: boolean): void {
  if (isTold)
    throw new SimFailure(fencing.name, `${disk}: a dead daemon has written block ${block}`);
}
