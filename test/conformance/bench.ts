import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Prng } from '../../core/base/prng.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BioOwner, BioVec } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { REQ_FLAG } from '../../core/block/op.ts';
import type { ReqOp } from '../../core/block/op.ts';

/** Turns of the event loop in which a second ending would show itself. */
const AFTERMATH_TURNS = 3;

/** A broken promise of the device, in words. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** A bio that counts how often it was submitted and ended. */
export class TestBio extends Bio {
  submits = 0;
  ends = 0;
}

export interface BioFields {
  readonly op: ReqOp;
  readonly sector?: number;
  readonly sectors?: number;
  readonly flags?: number;
  /** Contiguous memory, as long as the bio or longer. */
  readonly bytes?: Uint8Array;
  /** Or pieces of it. */
  readonly vecs?: readonly BioVec[];
}

/**
 * A device on the bench: every bio goes through here, and how it ends is watched. The loop is run
 * by the bench, and the event loop gets its turns, so any device on any loop can be tested.
 */
export class Bench implements BioOwner {
  readonly device: BlockDevice;
  private readonly deadlineMs: number;
  private readonly violations: string[] = [];
  private insideSubmit = false;
  /** Bios submitted and not ended. */
  pending = 0;

  constructor(device: BlockDevice, deadlineMs = 20_000) {
    this.device = device;
    this.deadlineMs = deadlineMs;
  }

  /** Sectors of a logical block: the grain of every range. */
  get blockSectors(): number {
    return this.device.limits.logicalBlockSize / SECTOR_SIZE;
  }

  bio({ op, sector = 0, sectors = 0, flags = REQ_FLAG.NONE, bytes, vecs }: BioFields): TestBio {
    const bio = new TestBio();
    bio.op = op;
    bio.flags = flags;
    bio.sector = sector;
    bio.sectors = sectors;
    bio.owner = this;
    if (bytes !== undefined) bio.setBuffer(bytes, 0, bytes.length);
    if (vecs !== undefined) {
      bio.vecs = vecs;
      bio.vecCount = vecs.length;
    }
    return bio;
  }

  submit(bio: TestBio): TestBio {
    bio.submits += 1;
    bio.error = 0;
    this.pending += 1;
    this.insideSubmit = true;
    try {
      this.device.submit(bio);
    } finally {
      this.insideSubmit = false;
    }
    return bio;
  }

  endIo(bio: Bio): void {
    if (!(bio instanceof TestBio)) throw new Violation('a bio that nobody submitted has ended');
    bio.ends += 1;
    if (this.insideSubmit) this.violations.push('a bio ended inside submit');
    else if (!this.device.loop.isRunning) this.violations.push('a bio ended outside the loop');
    if (bio.ends > bio.submits) this.violations.push('a bio ended twice');
    else this.pending -= 1;
  }

  /** One run of the loop, and one turn of the event loop for what the world has to say. */
  async turn(): Promise<void> {
    this.device.loop.run();
    await nextTurn();
  }

  /** Until everything has ended; throws when something has not, or ended as it must not. */
  async settle(): Promise<void> {
    const startMs = performance.now();
    while (this.pending > 0) {
      await this.turn();
      if (performance.now() - startMs < this.deadlineMs) continue;
      throw new Violation(`${this.pending} bios did not end within ${this.deadlineMs} ms`);
    }
    for (let i = 0; i < AFTERMATH_TURNS; i += 1) await this.turn();
    if (this.violations.length > 0) throw new Violation(this.violations.join('; '));
  }

  /** Submits one bio, waits for its end, returns its errno. */
  async run(fields: BioFields): Promise<number> {
    const bio = this.submit(this.bio(fields));
    await this.settle();
    return bio.error;
  }

  /** The same, for a bio that has to end with `errno`. */
  async expect(errno: number, what: string, fields: BioFields): Promise<void> {
    const found = await this.run(fields);
    if (found !== errno) throw new Violation(`${what} ended with ${found}, not with ${errno}`);
  }
}

/** Bytes that no other call gives, and that no device has by chance. */
export function randomBytes(prng: Prng, sectors: number): Uint8Array {
  const words = new Uint32Array(bytesOfSectors(sectors) / 4);
  for (let i = 0; i < words.length; i += 1) words[i] = prng.u32();
  return new Uint8Array(words.buffer);
}

export function expectEqual(found: Uint8Array, wanted: Uint8Array, what: string): void {
  if (Buffer.compare(found, wanted) === 0) return;
  if (found.length !== wanted.length) throw new Violation(`${what}: ${found.length} bytes`);
  const at = found.findIndex((byte, i) => byte !== wanted[i]);
  throw new Violation(
    `${what}: byte ${at} of ${wanted.length} is ${String(found[at])}, not ${String(wanted[at])}`,
  );
}

export function expectFilled(found: Uint8Array, byte: number, what: string): void {
  expectEqual(found, new Uint8Array(found.length).fill(byte), what);
}
