// Where a file has holes is asked of the kernel once a run of data, not once a region: on tmpfs each
// question about the end of data looks at every page up to the next hole.
import { REQ_OP } from '../../../core/block/op.ts';
import { Run, RUN } from '../../../core/block/run.ts';
import { FileMap } from '../../../daemon/sys/file-map.ts';
import { SEEK, type Syscalls } from '../../../daemon/sys/syscalls.ts';

const FILE = 1000 * 512;

/** A file with one hole; counts the questions. */
class Kernel {
  asked = 0;
  hole = { from: 600 * 512, to: 700 * 512 };
  readonly calls = {
    lseek: (_fd: number, at: number, whence: number): number => {
      this.asked += 1;
      const { from, to } = this.hole;
      const isInHole = at >= from && at < to;
      if (whence === SEEK.END) return FILE;
      if (whence === SEEK.DATA) return isInHole ? to : at;
      if (isInHole) return at;
      return at < from ? from : FILE;
    },
  } as unknown as Syscalls;
}

function look(map: FileMap, kernel: Kernel, sector: number, sectors: number): readonly number[] {
  const run = new Run();
  map.allocationAt(kernel.calls, 3, sector, sectors, run);
  return [run.sectors, run.flags];
}

const HOLE = RUN.HOLE | RUN.ZERO;

it('a run of data is asked for once, and ends where it ends', () => {
  const [map, kernel] = [new FileMap(), new Kernel()];
  for (let sector = 0; sector < 600; sector += 8) {
    expect(look(map, kernel, sector, 8)).toEqual([8, RUN.DATA]);
  }
  expect(kernel.asked).toBe(2);
  expect(look(map, kernel, 596, 8)).toEqual([4, RUN.DATA]);
  expect(look(map, kernel, 600, 8)).toEqual([8, HOLE]);
  expect(look(map, kernel, 696, 8)).toEqual([4, HOLE]);
  expect(look(map, kernel, 700, 300)).toEqual([300, RUN.DATA]);
});

it('holes are asked for each time: a write fills them without a word', () => {
  const [map, kernel] = [new FileMap(), new Kernel()];
  expect(look(map, kernel, 600, 8)).toEqual([8, HOLE]);
  kernel.hole = { from: 608 * 512, to: 700 * 512 };
  map.heard(REQ_OP.WRITE);
  expect(look(map, kernel, 600, 8)).toEqual([8, RUN.DATA]);
});

it.each([REQ_OP.DISCARD, REQ_OP.WRITE_ZEROES])('operation %i may have made a hole', (op) => {
  const [map, kernel] = [new FileMap(), new Kernel()];
  expect(look(map, kernel, 0, 8)).toEqual([8, RUN.DATA]);
  kernel.hole = { from: 0, to: 8 * 512 };
  map.heard(op);
  expect(look(map, kernel, 0, 8)).toEqual([8, HOLE]);
});
