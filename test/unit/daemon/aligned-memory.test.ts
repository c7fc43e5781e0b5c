import { alignedMemory } from '../../../daemon/sys/aligned-memory.ts';
import { hasSyscalls, loadSyscalls } from '../../../daemon/sys/syscalls.ts';

const calls = loadSyscalls();
if (!hasSyscalls(calls)) throw new Error(calls.reason);

it.each([512, 4096, 65_536, 2 ** 19, 2 ** 26])(
  '%i bytes begin at a page, and are zero',
  (length) => {
    const bytes = alignedMemory(length);
    expect(bytes).toHaveLength(length);
    expect(calls.offsetInPage(bytes)).toBe(0);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  },
);

it('pieces at once do not overlap', () => {
  const pieces = [1, 2, 3].map((value) => alignedMemory(4096).fill(value));
  expect(pieces.map((piece) => new Set(piece))).toEqual([new Set([1]), new Set([2]), new Set([3])]);
});
