// A daemon gives memory that begins at a page: what is copied and compared goes through that and no other.
import { SILENT_LOG, type Clock } from '../../../core/base/ports.ts';
import type { Bio } from '../../../core/block/bio.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { STANDING } from '../../../core/mirror/leg.ts';
import { NoRecorder } from '../../../core/mirror/record.ts';
import { MirrorSet } from '../../../core/mirror/set.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const STILL: Clock = { nowMs: () => 0, after: () => ({ cancel: () => undefined }) };

it.each([
  ['a copy', true, STANDING.JOINING],
  ['a comparison after an unclean stop', false, STANDING.MEMBER],
])('%s', (_, membersEqual, standing) => {
  const loop = createManualLoop();
  const given = new Set<Uint8Array>();
  const used = new Set<Uint8Array>();
  const look = (bio: Bio): number => {
    const hasData = bio.op === REQ_OP.READ || bio.op === REQ_OP.WRITE;
    for (let i = 0; hasData && i < bio.vecCount; i += 1)
      used.add(bio.vecs[i]?.page ?? new Uint8Array());
    return 0;
  };
  const devices = ['a', 'b'].map((name) => {
    const device = new MemoryDevice({ loop, sectors: 1024, name });
    device.fault = look;
    device.bytes.fill(name.charCodeAt(0));
    return device;
  });
  const set = new MirrorSet({
    name: 'm',
    loop,
    clock: STILL,
    log: SILENT_LOG,
    memory: (length) => {
      const bytes = new Uint8Array(length);
      given.add(bytes);
      return bytes;
    },
    recorder: new NoRecorder(loop),
    sectors: 1024,
    regionSectors: 64,
    legs: devices.map((device, i) => ({
      name: device.name,
      startSector: 0,
      device,
      standing: i === 0 ? STANDING.MEMBER : standing,
    })),
    generation: 0,
    membersEqual,
    readPolicy: { kind: 'round-robin' },
  });
  set.start();
  runUntilIdle(loop);
  expect(devices[1]?.bytes).toEqual(devices[0]?.bytes);
  expect(used.size).toBeGreaterThan(0);
  expect([...used].filter((page) => !given.has(page))).toEqual([]);
});
