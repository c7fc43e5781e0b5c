import { NO_SLOT, SlotWait, type Arena } from '../block/arena.ts';
import type { Loan } from '../block/loan.ts';

/**
 * Memory of a request that somebody was given up on for: he may read or write it any time. It is nobody
 * else's until he has said that he is done, which may be never; meanwhile the arena has it no more.
 * Nothing of this happens while devices answer, so it may allocate.
 */
export function keepUntilFree(arena: Arena, slot: number, loan: Loan): void {
  loan.leave(() => {
    arena.release(slot);
  });
  arena.setAside(slot);
}

/** Another slot in place of one that is lost; `granted` from the loop, or at once. */
export function replaceSlot(
  arena: Arena,
  lengthBytes: number,
  granted: (slot: number) => void,
): void {
  const slot = arena.allocate(lengthBytes);
  if (slot !== NO_SLOT) {
    granted(slot);
    return;
  }
  const wait = new SlotWait();
  wait.owner = {
    slotGranted: () => {
      granted(wait.slot);
    },
  };
  arena.wait(wait, lengthBytes);
}
