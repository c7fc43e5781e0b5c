import { assert } from '../../core/base/assert.ts';
import { addressOfBuffer, mapAnonymous } from './syscall.ts';

const CARVE_BYTES = 1024 * 1024;
/** struct iovec: address, length. */
export const IOVEC_BYTES = 16;

/** A small piece of mapped memory for what the kernel reads: iovecs, message headers. */
export interface Room {
  readonly address: number;
  readonly words: Uint32Array;
}

/** A mapping: page-aligned, at an address that never changes. */
export interface MappedBytes {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/**
 * Memory the kernel may be told the address of. The arena is one mapping; other buffers (a region
 * copy's, the edges of an unaligned write) are ordinary typed arrays whose address is asked once.
 */
export class Memory {
  /** The arena's bytes: the page of nearly every bio vector. */
  readonly bytes: Uint8Array;
  private readonly address: number;
  private readonly addresses = new WeakMap<Uint8Array, number>();
  private carveFrom = mapAnonymous(CARVE_BYTES);
  private carved = 0;

  constructor(bytes: number) {
    const mapping = mapAnonymous(bytes);
    this.address = mapping.address;
    this.bytes = new Uint8Array(mapping.buffer);
  }

  addressOf(page: Uint8Array): number {
    if (page === this.bytes) return this.address;
    const known = this.addresses.get(page);
    if (known !== undefined) return known;
    // Below 64 bytes V8 keeps a typed array inside its heap, where it moves.
    assert(page.length > 64, 'a buffer for the kernel must be longer than 64 bytes');
    const address = addressOfBuffer(page);
    this.addresses.set(page, address);
    return address;
  }

  /**
   * Makes `iovec` point at a piece of the page. Not by way of `addressOf`: a number above 2^31 that
   * is returned from a call may be boxed.
   */
  point(iovec: Uint32Array, page: Uint8Array, offset: number, length: number): void {
    const address = (page === this.bytes ? this.address : this.addressOf(page)) + offset;
    const high = Math.floor(address / 4294967296);
    iovec[0] = address - high * 4294967296;
    iovec[1] = high;
    iovec[2] = length;
    iovec[3] = 0;
  }

  /** Page-aligned memory of its own, for good. */
  pages(bytes: number): MappedBytes {
    const { address, buffer } = mapAnonymous(bytes);
    return { address, bytes: new Uint8Array(buffer) };
  }

  /** `bytes` of mapped memory for good; a multiple of 16. */
  carve(bytes: number): Room {
    assert(bytes % 16 === 0 && bytes <= CARVE_BYTES, 'a room of mapped memory is too large');
    if (this.carved + bytes > CARVE_BYTES) {
      this.carveFrom = mapAnonymous(CARVE_BYTES);
      this.carved = 0;
    }
    const at = this.carved;
    this.carved += bytes;
    return {
      address: this.carveFrom.address + at,
      words: new Uint32Array(this.carveFrom.buffer, at, bytes / 4),
    };
  }
}
