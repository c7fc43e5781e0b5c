import { ERRNO } from '../../core/base/errno.ts';
import type { Completion } from '../../core/block/loop.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { createManualLoop } from '../support/manual-loop.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { Violation } from './bench.ts';
import { checksFor, runCheck } from './block-device.ts';
import type { Supports } from './checks.ts';

const SUPPORTS: Supports = { storesData: true, startsZeroed: true, readOnly: true, sync: true };
const SEED = 4711;

/** A sound disk and a way to spoil it. */
type Spoil = (disk: MemoryDevice) => BlockDevice;

/** The device in front of the disk: as the disk, but for `submit`. */
function front(disk: MemoryDevice, submit: (bio: Bio) => void): BlockDevice {
  return {
    name: 'broken',
    sectors: disk.sectors,
    limits: disk.limits,
    loop: disk.loop,
    submit,
  };
}

/** Gives the disk a bio of its own, and ends the caller's when `after` has had its way. */
function relay(disk: MemoryDevice, bio: Bio, change: Partial<Bio>, after?: () => void): void {
  const own = Object.assign(new Bio(), {
    op: bio.op,
    flags: bio.flags,
    sector: bio.sector,
    sectors: bio.sectors,
    vecs: bio.vecs,
    vecCount: bio.vecCount,
    ...change,
  });
  own.owner = {
    endIo: () => {
      bio.error = own.error;
      after?.();
      bio.complete();
    },
  };
  disk.submit(own);
}

function firstBytes(bio: Bio): Uint8Array {
  const vec = bio.vecs[0];
  if (vec === undefined) throw new Error('a bio without memory');
  return vec.page.subarray(vec.offset, vec.offset + vec.length);
}

const sound: Spoil = (disk) => disk;

const twice = (disk: MemoryDevice): BlockDevice =>
  front(disk, (bio) => {
    const again: Completion = { complete: () => bio.complete() };
    relay(disk, bio, {}, () => bio.flags === 0 && disk.loop.defer(again));
  });

const insideSubmit = (disk: MemoryDevice): BlockDevice =>
  front(disk, (bio) => {
    if (bio.op === REQ_OP.FLUSH) bio.complete();
    else relay(disk, bio, {});
  });

/** Each planted fault and the checks that must see it; others may. */
const BROKEN: Readonly<Record<string, readonly [readonly string[], Spoil]>> = {
  'ends twice': [['ends each bio once, from the loop'], twice],
  'ends inside submit': [
    [
      'ends each bio once, from the loop',
      'ends all of 500 bios in flight',
      'flushes, and forces writes',
    ],
    insideSubmit,
  ],
  'never ends a bio submitted again': [
    ['takes a bio again from its own end'],
    (disk) => {
      const seen = new Set<Bio>();
      return front(disk, (bio) => {
        if (!seen.has(bio)) relay(disk, bio, {});
        seen.add(bio);
      });
    },
  ],
  'ignores bounds': [
    ['refuses what lies outside', 'ends each bio once, from the loop'],
    (disk) =>
      front(disk, (bio) => {
        const outside = bio.sector + bio.sectors > disk.sectors;
        relay(disk, bio, outside ? { op: REQ_OP.FLUSH, vecCount: 0 } : {});
      }),
  ],
  'damages the end when it refuses': [
    ['refuses what lies outside'],
    (disk) =>
      front(disk, (bio) => {
        if (bio.sector + bio.sectors > disk.sectors) disk.bytes.fill(1, -1);
        relay(disk, bio, {});
      }),
  ],
  'ignores the logical block': [
    ['refuses what is off the logical block'],
    (disk) =>
      front(disk, (bio) => {
        const off = (bio.sector * SECTOR_SIZE) % disk.limits.logicalBlockSize !== 0;
        relay(disk, bio, off ? { op: REQ_OP.FLUSH, vecCount: 0 } : {});
      }),
  ],
  'writes when read-only': [
    ['refuses writes when read-only'],
    (disk) =>
      front(disk, (bio) => {
        if (disk.limits.readOnly && bio.op === REQ_OP.WRITE) disk.bytes.fill(7);
        relay(disk, bio, {});
      }),
  ],
  'loses every tenth write': [
    ['keeps many writes in flight apart', 'agrees with a model under random work'],
    (disk) => {
      let writes = 0;
      return front(disk, (bio) => {
        if (bio.op === REQ_OP.WRITE) writes += 1;
        const lost = bio.op === REQ_OP.WRITE && writes % 10 === 0;
        relay(disk, bio, lost ? { op: REQ_OP.FLUSH, vecCount: 0 } : {});
      });
    },
  ],
  'loses writes that are forced': [
    ['flushes, and forces writes', 'agrees with a model under random work'],
    (disk) =>
      front(disk, (bio) => {
        const lost = bio.op === REQ_OP.WRITE && (bio.flags & REQ_FLAG.FUA) !== 0;
        relay(disk, bio, lost ? { op: REQ_OP.FLUSH, vecCount: 0 } : {});
      }),
  ],
  'mixes writes that overlap': [
    ['leaves one of the writes that overlap'],
    (disk) =>
      front(disk, (bio) => {
        const torn = bio.op === REQ_OP.WRITE && bio.sectors > 1;
        relay(disk, bio, {}, () => {
          if (torn)
            disk.bytes.fill(0xdd, bytesOfSectors(bio.sector), bytesOfSectors(bio.sector) + 9);
        });
      }),
  ],
  'reads short': [
    ['moves memory in pieces of any shape', 'agrees with a model under random work'],
    (disk) =>
      front(disk, (bio) => {
        const short = bio.op === REQ_OP.READ && bio.sectors >= 16;
        relay(disk, bio, short ? { sectors: bio.sectors - 8 } : {});
      }),
  ],
  'leaves memory as it was': [
    ['reads zeros before any write'],
    (disk) =>
      front(disk, (bio) => {
        relay(disk, bio, bio.op === REQ_OP.READ ? { op: REQ_OP.FLUSH, vecCount: 0 } : {});
      }),
  ],
  'uses the first piece only': [
    ['moves memory in pieces of any shape'],
    (disk) =>
      front(disk, (bio) => {
        const whole = bio.vecCount <= 1;
        const sectors = whole ? bio.sectors : Math.min(bio.sectors, firstBytes(bio).length / 512);
        relay(disk, bio, { sectors });
      }),
  ],
  'moves all its memory': [
    ['moves no more than its sectors'],
    (disk) =>
      front(disk, (bio) => {
        let bytes = 0;
        for (let i = 0; i < bio.vecCount; i += 1) bytes += bio.vecs[i]?.length ?? 0;
        const fits = bio.vecCount > 0 && bio.sector * 512 + bytes <= disk.bytes.length;
        relay(disk, bio, fits ? { sectors: bytes / SECTOR_SIZE } : {});
      }),
  ],
  'zeroes a block too many': [
    ['makes zeros where its limits say so'],
    (disk) =>
      front(disk, (bio) => {
        const zeroes = bio.op === REQ_OP.WRITE_ZEROES;
        relay(disk, bio, zeroes ? { sectors: bio.sectors + 8 } : {});
      }),
  ],
  'discards nothing, and says zeros': [
    ['makes zeros where its limits say so'],
    (disk) =>
      front(disk, (bio) => {
        relay(disk, bio, bio.op === REQ_OP.DISCARD ? { op: REQ_OP.FLUSH } : {});
      }),
  ],
  'has a limit it does not keep': [
    ['has limits that are true'],
    (disk) =>
      front(disk, (bio) => {
        const many = bio.vecCount > 16;
        relay(disk, bio, many ? { op: REQ_OP.FLUSH } : {}, () => {
          if (many) bio.error = ERRNO.EIO;
        });
      }),
  ],
  'needs the event loop for SYNC bios': [
    ['ends SYNC bios by poll alone'],
    (disk) =>
      front(disk, (bio) => {
        setImmediate(() => disk.submit(bio));
      }),
  ],
};

function factoryOf(spoil: Spoil) {
  return ({ readOnly }: { readonly readOnly: boolean }) => {
    const limits = { logicalBlockSize: 4096, maxSectors: 512, readOnly };
    const disk = new MemoryDevice({ loop: createManualLoop(), sectors: 1024, limits });
    return { device: spoil(disk), close: () => undefined };
  };
}

describe('every check sees the fault planted for it', () => {
  for (const [fault, [checks, spoil]] of Object.entries(BROKEN)) {
    for (const name of checks) {
      it(`a device that ${fault}: "${name}"`, async () => {
        const check = checksFor(SUPPORTS).find((candidate) => candidate.name === name);
        if (check === undefined) throw new Error(`no check is called "${name}"`);
        await expect(runCheck(check, factoryOf(spoil), SUPPORTS, SEED, 300)).rejects.toThrow(
          Violation,
        );
      });
    }
  }

  it('leaves no check without a fault', () => {
    const seen = new Set(Object.values(BROKEN).flatMap(([checks]) => checks));
    expect(checksFor(SUPPORTS).filter(({ name }) => !seen.has(name))).toEqual([]);
  });

  it.each(checksFor(SUPPORTS))(
    'passes the sound disk: "$name"',
    (check) => runCheck(check, factoryOf(sound), SUPPORTS, SEED),
    60_000,
  );
});
