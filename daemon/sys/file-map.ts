import { RUN, type Run } from '../../core/block/run.ts';
import { SECTOR_SIZE, sectorsFloor } from '../../core/base/units.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { SEEK, type Syscalls } from './syscalls.ts';

/**
 * Which sectors of a file are holes, by lseek(2): one or two calls for an answer, served from the
 * file system's memory. What is not a whole sector of hole is data. A file that was cut short ends
 * in data: reading there must say what is wrong.
 */
export function fileAllocationAt(
  calls: Syscalls,
  fd: number,
  sector: number,
  sectors: number,
  run: Run,
): void {
  const start = sector * SECTOR_SIZE;
  const end = start + sectors * SECTOR_SIZE;
  const data = nextData(calls, fd, start);
  if (data > start) {
    const hole = sectorsFloor(Math.min(data, end) - start);
    if (hole > 0) run.set(hole, RUN.HOLE | RUN.ZERO);
    else run.set(1, RUN.DATA);
    return;
  }
  const hole = data < 0 ? data : calls.lseek(fd, start, SEEK.HOLE);
  if (hole <= start || hole >= end) run.set(sectors, RUN.DATA);
  else run.set(Math.ceil((hole - start) / SECTOR_SIZE), RUN.DATA);
}

/** Where data is next: the end of the file when only holes follow; negative when nobody knows. */
function nextData(calls: Syscalls, fd: number, start: number): number {
  const data = calls.lseek(fd, start, SEEK.DATA);
  if (data !== -ERRNO.ENXIO) return data;
  const end = calls.lseek(fd, 0, SEEK.END);
  return end > start ? end : -ERRNO.ENXIO;
}
