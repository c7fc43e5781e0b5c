/**
 * Slots of an arena that nobody may have until who was given up on with them has ended: nobody knows
 * when, perhaps never. Nothing of this happens while devices answer, so it may allocate.
 */
export class SetAside {
  /** Bytes of these slots. */
  bytes = 0;
  /** Their lengths, by where they begin. */
  private readonly slots = new Map<number, number>();

  add(slot: number, lengthBytes: number): void {
    this.slots.set(slot, lengthBytes);
    this.bytes += lengthBytes;
  }

  /** It is back. */
  delete(slot: number): void {
    this.bytes -= this.slots.get(slot) ?? 0;
    this.slots.delete(slot);
  }

  /**
   * No chunk of that length, a power of two, is free of them: however much of the rest of the arena's
   * `totalBytes` comes back, there is none.
   */
  bars(chunkBytes: number, totalBytes: number): boolean {
    const barred = new Set<number>();
    for (const [slot, lengthBytes] of this.slots) {
      const last = Math.floor((slot + lengthBytes - 1) / chunkBytes);
      for (let i = Math.floor(slot / chunkBytes); i <= last; i += 1) barred.add(i);
    }
    return barred.size === totalBytes / chunkBytes;
  }
}
