import { checkExit, dmLines, infoLines, listLines, statusLines } from '../../../cli/format.ts';
import { durationText, progressBar } from '../../../cli/text.ts';
import type { DeviceState, DeviceStatus } from '../../../core/control/status.ts';
import { NO_LEG_ERRORS } from '../../../core/control/status.ts';

const NO_FLAGS = { writeMostly: false, failedByHand: false, replaces: null };
const HEALTHY: DeviceStatus = {
  name: 'data',
  sizeBytes: 2 ** 30,
  target: 'mirror',
  state: 'in-sync',
  uri: 'nbd+unix:///data?socket=/run/dmiod/nbd.sock',
  connections: 1,
  attached: [],
  mounts: [],
  eventNr: 3,
  regions: { sizeBytes: 524288, total: 2048, dirty: 1, outOfSync: 0 },
  resync: null,
  scrub: null,
  regionMap: null,
  legs: [
    {
      index: 0,
      leg: '/srv/a.img',
      state: 'in-sync',
      errors: NO_LEG_ERRORS,
      outOfSyncBytes: 0,
      reason: null,
      ...NO_FLAGS,
    },
    {
      index: 1,
      leg: '/srv/b.img',
      state: 'in-sync',
      errors: NO_LEG_ERRORS,
      outOfSyncBytes: 0,
      reason: null,
      ...NO_FLAGS,
    },
  ],
  reason: null,
};
const [LEG_A, LEG_B] = HEALTHY.legs;

describe('status for people', () => {
  it('of a healthy mirror', () => {
    expect(statusLines([HEALTHY])).toEqual([
      'data  mirror [UU]  1 GiB  in-sync',
      '  export   nbd+unix:///data?socket=/run/dmiod/nbd.sock, 1 connection',
      '  regions  2048 x 512 KiB: 1 dirty, 0 out of sync',
      '  leg 0    in-sync  /srv/a.img',
      '  leg 1    in-sync  /srv/b.img',
      '  failure  leg 0 or leg 1 may fail now: the other holds everything',
    ]);
  });

  it('of one that is being copied, and of one with a broken leg', () => {
    if (LEG_A === undefined || LEG_B === undefined) throw new Error('two legs');
    const resyncing: DeviceStatus = {
      ...HEALTHY,
      state: 'resyncing',
      connections: 0,
      regions: { sizeBytes: 524288, total: 10, dirty: 0, outOfSync: 4 },
      resync: {
        doneBytes: 2 ** 29,
        totalBytes: 2 ** 30,
        bytesPerSecond: 2 ** 27,
        etaSeconds: 4,
        paused: false,
      },
      regionMap: '...xx',
      legs: [LEG_A, { ...LEG_B, state: 'resyncing', outOfSyncBytes: 2 ** 29 }],
    };
    const errors = { ...NO_LEG_ERRORS, read: 2, write: 1 };
    const degraded: DeviceStatus = {
      ...HEALTHY,
      name: 'other',
      state: 'degraded',
      uri: null,
      regions: null,
      legs: [
        LEG_A,
        { ...LEG_B, state: 'failed', errors, outOfSyncBytes: null, reason: 'write error: ENOSPC' },
      ],
    };
    expect(statusLines([resyncing, degraded])).toEqual([
      'data  mirror [Ur]  1 GiB  resyncing',
      '  export   nbd+unix:///data?socket=/run/dmiod/nbd.sock',
      '  regions  10 x 512 KiB: 0 dirty, 4 out of sync',
      '  map      ...xx',
      '           . clean, x out of sync on some leg; a letter is 2 regions',
      '  resync   [==========>.........]  50.0 %  512 MiB of 1 GiB  128 MiB/s  about 4 s left',
      '  leg 0    in-sync    /srv/a.img',
      '  leg 1    resyncing  /srv/b.img  512 MiB behind',
      '  failure  if leg 0 fails now the device fails: no other leg is whole',
      '',
      'other  mirror [UF]  1 GiB  degraded',
      '  leg 0    in-sync  /srv/a.img',
      '  leg 1    failed   /srv/b.img  2 read errors, 1 write error, write error: ENOSPC',
      '  failure  if leg 0 fails now the device fails: no other leg is whole',
    ]);
  });

  it('of one that could not be assembled, and of none', () => {
    const failed: DeviceStatus = {
      ...HEALTHY,
      state: 'failed',
      sizeBytes: null,
      target: 'unknown',
      uri: null,
      regions: null,
      legs: [],
      reason: 'its record is no JSON',
    };
    expect(statusLines([failed])).toEqual([
      'data  unknown  unknown size  failed',
      '  because  its record is no JSON',
    ]);
    expect(statusLines([])).toEqual(['no devices']);
  });
});

describe('small things', () => {
  it.each([
    [0, '[>...................]'],
    [0.5, '[==========>.........]'],
    [0.999, '[===================>]'],
    [1, '[====================]'],
  ])('a bar at %d', (ratio, bar) => {
    expect(progressBar(ratio)).toBe(bar);
  });

  it.each([
    [0, '0 s'],
    [4.2, '5 s'],
    [90, '1 min 30 s'],
    [7300, '2 h 1 min'],
  ])('%d seconds', (seconds, text) => {
    expect(durationText(seconds)).toBe(text);
  });

  it('lists, and table lines as dmsetup prints them', () => {
    expect(listLines({ devices: [] })).toEqual(['no devices']);
    expect(listLines({ devices: [HEALTHY] })).toEqual([
      'NAME  SIZE   TARGET  STATE    URI',
      'data  1 GiB  mirror  in-sync  nbd+unix:///data?socket=/run/dmiod/nbd.sock',
    ]);
    const report = { devices: [{ name: 'x', lines: ['0 8 zero', '8 8 error'] }] };
    expect(dmLines(report, true)).toEqual(['0 8 zero', '8 8 error']);
    expect(dmLines(report, false)).toEqual(['x: 0 8 zero', 'x: 8 8 error']);
  });

  it('informs', () => {
    expect(
      infoLines([
        {
          name: 'x',
          state: 'ACTIVE',
          readOnly: true,
          openCount: 2,
          eventNr: 0,
          targets: 1,
          sizeBytes: 4096,
          uri: null,
          source: 'create',
        },
      ]),
    ).toEqual([
      'Name:               x',
      'State:              ACTIVE (READ-ONLY)',
      'Open count:         2',
      'Event number:       0',
      'Number of targets:  1',
      'Size:               4 KiB (8 sectors)',
      'URI:                -',
      'Made by:            create',
    ]);
  });
});

describe('status --check', () => {
  it.each<[DeviceState[], number]>([
    [[], 0],
    [['in-sync'], 0],
    [['degraded'], 10],
    [['resyncing'], 11],
    [['failed'], 12],
    [['in-sync', 'resyncing'], 11],
    [['resyncing', 'degraded'], 10],
    [['degraded', 'failed', 'in-sync'], 12],
  ])('%j exits %d', (states, code) => {
    expect(checkExit(states.map((state) => ({ ...HEALTHY, state })))).toBe(code);
  });
});
