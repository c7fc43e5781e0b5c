import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { STANDING, type Leg } from './leg.ts';
import { lose } from './losses.ts';
import { SUPERBLOCK_BYTES, SUPERBLOCK_SECTORS, superblockSectors } from './native-layout.ts';
import type { MirrorSet } from './set.ts';
import { encodeSuperblock, type Superblock } from './superblock.ts';

/** A superblock that a start has found, and which copy it is. */
export interface FoundSuperblock {
  readonly superblock: Superblock;
  readonly copy: 'a' | 'b';
}

/**
 * What was read at the start may have been in a volatile cache only, since the daemon before was
 * killed; and the copy beside it is about to be written over. A cut of the power could take both.
 *
 * So it is written once more with FUA, over itself: the same bytes, so no crash can tear them. A flush
 * would prove nothing: a write with FUA that failed before it, or beside it, may have taken the cache
 * with it (D8), while what is shown stays.
 */
export class FoundSuperblocks implements DmIoOwner {
  private readonly request = new DmIoRequest();
  private found: readonly FoundSuperblock[];
  private set: MirrorSet | null = null;
  private targets: readonly Leg[] = [];
  private done: (errno: number) => void = () => undefined;

  constructor(found: readonly FoundSuperblock[]) {
    this.found = found;
    this.request.owner = this;
    this.request.op = REQ_OP.WRITE;
    this.request.flags = REQ_FLAG.FUA;
  }

  attach(set: MirrorSet): void {
    this.set = set;
  }

  /** 0: no cut of the power can take it. Else no member could make it so. */
  keep(done: (errno: number) => void): void {
    if (this.found.length === 0) {
      done(ERRNO.OK);
      return;
    }
    this.done = done;
    // A leg that was added again since has nothing of the kind.
    this.targets = this.owner.legs.filter(
      (leg) => leg.isActive && leg.joins === 0 && this.foundOn(leg) !== undefined,
    );
    const { request } = this;
    const bytes = new Uint8Array(Math.max(1, this.targets.length) * SUPERBLOCK_BYTES);
    request.isLate = false;
    request.clearRegions();
    request.memory.setBytes(bytes, 0);
    for (const [i, leg] of this.targets.entries()) {
      const one = this.foundOn(leg);
      assert(one !== undefined && leg.device !== null, 'a superblock that was found nowhere');
      encodeSuperblock(one.superblock, bytes, i * SUPERBLOCK_BYTES);
      const { a, b } = superblockSectors(leg.device.sectors);
      const sector = one.copy === 'a' ? a : b;
      request.addRegion(leg.device, sector, SUPERBLOCK_SECTORS, i * SUPERBLOCK_SECTORS);
      leg.enter();
    }
    this.owner.client.submit(request);
  }

  /** As of a first superblock: a member must have it, and a leg that has not is out. */
  dmIoDone(request: DmIoRequest): void {
    const { targets, owner } = this;
    for (const leg of targets) leg.leave();
    const isKept = targets.some(
      (leg, i) => leg.standing === STANDING.MEMBER && !request.errorBits.test(i),
    );
    if (!isKept) {
      this.done(loseAll(owner, request, targets));
      return;
    }
    this.found = [];
    for (const [i, leg] of targets.entries()) {
      if (!request.errorBits.test(i) || !leg.isActive) continue;
      owner.failLeg(leg, 'write', request.regions[i]?.error ?? ERRNO.EIO);
    }
    this.done(ERRNO.OK);
  }

  private foundOn(leg: Leg): FoundSuperblock | undefined {
    return this.found.find(({ superblock }) => superblock.legUuid === leg.uuid);
  }

  private get owner(): MirrorSet {
    assert(this.set !== null, 'superblocks of no set');
    return this.set;
  }
}

/** No member took a superblock, and the errno may be that of a flush (D8). Returns it. */
export function loseAll(set: MirrorSet, request: DmIoRequest, legs: readonly Leg[]): number {
  const failed = legs.filter((_, i) => request.errorBits.test(i));
  const [first] = failed;
  const errno = first === undefined ? 0 : (request.regions[legs.indexOf(first)]?.error ?? 0);
  for (const leg of failed) set.distrust(leg);
  // Without any leg nothing was tried.
  if (first !== undefined) lose(set, errno);
  return errno === 0 ? ERRNO.EIO : errno;
}
