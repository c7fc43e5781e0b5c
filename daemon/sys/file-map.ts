import { REQ_OP, type ReqOp } from '../../core/block/op.ts';
import { RUN, type Run } from '../../core/block/run.ts';
import { SECTOR_SIZE, sectorsFloor } from '../../core/base/units.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { SEEK, type Syscalls } from './syscalls.ts';

/**
 * Which sectors of a file are holes, by lseek(2): one or two calls for an answer, served from the
 * file system's memory. What is not a whole sector of hole is data. A file that was cut short ends
 * in data: reading there must say what is wrong.
 *
 * SEEK_HOLE looks as far as the next hole, on tmpfs page by page: from every region to the end of a
 * file without holes. So the last run of data is remembered. Data may be taken for data when it has
 * become a hole; so each operation is told of, as it begins and as it ends, and holes make us forget.
 */
export class FileMap {
  private start = 0;
  private end = 0;

  /** An operation begins, or has ended. */
  heard(op: ReqOp): void {
    if (op === REQ_OP.DISCARD || op === REQ_OP.WRITE_ZEROES) this.end = 0;
  }

  allocationAt(calls: Syscalls, fd: number, sector: number, sectors: number, run: Run): void {
    const start = sector * SECTOR_SIZE;
    if (start >= this.start && start < this.end) {
      run.set(Math.min(sectors, Math.ceil((this.end - start) / SECTOR_SIZE)), RUN.DATA);
      return;
    }
    const hole = fileAllocationAt(calls, fd, sector, sectors, run);
    if (hole <= start) return;
    this.start = start;
    this.end = hole;
  }
}

/** The answer to `run`; where the hole behind the data begins: 0, that is not known. */
function fileAllocationAt(
  calls: Syscalls,
  fd: number,
  sector: number,
  sectors: number,
  run: Run,
): number {
  const start = sector * SECTOR_SIZE;
  const end = start + sectors * SECTOR_SIZE;
  const data = nextData(calls, fd, start);
  if (data > start) {
    const hole = sectorsFloor(Math.min(data, end) - start);
    if (hole > 0) run.set(hole, RUN.HOLE | RUN.ZERO);
    else run.set(1, RUN.DATA);
    return 0;
  }
  const hole = data < 0 ? data : calls.lseek(fd, start, SEEK.HOLE);
  if (hole <= start || hole >= end) run.set(sectors, RUN.DATA);
  else run.set(Math.ceil((hole - start) / SECTOR_SIZE), RUN.DATA);
  return Math.max(0, hole);
}

/** Where data is next: the end of the file when only holes follow; negative when nobody knows. */
function nextData(calls: Syscalls, fd: number, start: number): number {
  const data = calls.lseek(fd, start, SEEK.DATA);
  if (data !== -ERRNO.ENXIO) return data;
  const end = calls.lseek(fd, 0, SEEK.END);
  return end > start ? end : -ERRNO.ENXIO;
}
