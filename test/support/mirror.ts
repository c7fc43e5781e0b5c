import { SILENT_LOG, type Clock } from '../../core/base/ports.ts';
import { bioError, type BlockDevice } from '../../core/block/device.ts';
import { STANDING } from '../../core/mirror/leg.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import { MirrorSet } from '../../core/mirror/set.ts';

/** Time that stands still: nothing a healthy mirror does waits for it. */
const STILL: Clock = { nowMs: () => 0, after: () => ({ cancel: () => undefined }) };

/** A mirror of equal legs as a block device, in regions of 64 sectors, read from one after another. */
export function mirrorOf(legs: readonly BlockDevice[]): BlockDevice {
  const [first] = legs;
  if (first === undefined) throw new Error('a mirror of nothing');
  const { loop, sectors } = first;
  const set = new MirrorSet({
    name: 'm',
    loop,
    clock: STILL,
    log: SILENT_LOG,
    recorder: new NoRecorder(loop),
    sectors,
    regionSectors: 64,
    legs: legs.map((device) => ({
      name: device.name,
      startSector: 0,
      device,
      standing: STANDING.MEMBER,
    })),
    generation: 0,
    membersEqual: true,
    readPolicy: { kind: 'round-robin' },
  });
  set.start();
  const device: BlockDevice = {
    name: 'm',
    loop,
    sectors,
    limits: set.limits,
    // As a mapped device does for its targets: they get no bio that lies outside.
    submit: (bio) => {
      bio.error = bioError(device, bio);
      if (bio.error === 0) set.map(bio);
      else loop.defer(bio);
    },
  };
  return device;
}
