import type { Arena } from '../../../core/block/arena.ts';
import { GARBAGE } from '../content.ts';
import { fail, type Checker } from './checker.ts';

/** Released memory is filled with what no write has asked for: who sends or writes it shows. */
export const slots: Checker = {
  name: 'C6',
  sentence: 'memory of the arena is left alone from its release until somebody gets it again',
};

/** The arena's own methods, between which a slot is somebody's. */
interface Insides {
  take(lengthBytes: number): number;
  release(slot: number): void;
}

export class SlotWatch {
  private readonly arena: Arena;
  private readonly words: Uint32Array;

  constructor(arena: Arena) {
    this.arena = arena;
    const { bytes } = arena;
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  }

  begin(): void {
    const { arena, words } = this;
    words.fill(GARBAGE);
    const insides = arena as unknown as Insides;
    const take = insides.take.bind(arena);
    const release = insides.release.bind(arena);
    insides.take = (lengthBytes): number => {
      const slot = take(lengthBytes);
      if (slot >= 0) this.check(slot);
      return slot;
    };
    insides.release = (slot): void => {
      words.fill(GARBAGE, slot / 4, (slot + arena.slotBytes(slot)) / 4);
      release(slot);
    };
  }

  private check(slot: number): void {
    const end = (slot + this.arena.slotBytes(slot)) / 4;
    for (let i = slot / 4; i < end; i += 1) {
      if (this.words[i] !== GARBAGE) fail(slots, `byte ${4 * i} was written after its release`);
    }
  }
}
