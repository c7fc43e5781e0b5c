import type { BlockDevice } from '../../../core/block/device.ts';
import type { LegState } from '../../../core/mirror/leg.ts';
import type { MirrorRecord } from '../../../core/mirror/record.ts';
import { mirrorOfRecord, newMirror } from '../../../daemon/devices/standing.ts';
import type { LegPlace } from '../../../daemon/devices/standing.ts';

const THERE = { name: 'x' } as BlockDevice;
const errors = { read: 1, write: 2, flush: 3, resync: 4 };

function place(path: string, isThere: boolean): LegPlace {
  const absence = isThere ? null : `${path} does not exist`;
  return { path, startSector: 0, device: isThere ? THERE : null, absence };
}

function record(clean: boolean, ...states: LegState[]): MirrorRecord {
  const rest = { startSector: 0, writeMostly: false, failedByHand: false, replaces: null, errors };
  const legs = states.map((state, slot) => {
    return { path: `/${slot}`, slot, state, reason: `was ${state}`, ...rest };
  });
  return { generation: 7, clean, legs };
}

describe('a new mirror', () => {
  const places = [place('/0', true), place('/1', true)];

  it('has one truth, and legs that join it', () => {
    const { legs, membersEqual, generation } = newMirror(places, false);
    expect(legs.map(({ standing }) => standing)).toEqual(['member', 'joining']);
    expect([membersEqual, generation]).toEqual([false, 0]);
  });

  it('of equal legs has members only', () => {
    const { legs, membersEqual } = newMirror(places, true);
    expect(legs.map(({ standing }) => standing)).toEqual(['member', 'member']);
    expect(membersEqual).toBe(true);
  });
});

describe('a mirror of its record', () => {
  it.each<[LegState, boolean, string]>([
    ['in-sync', true, 'member'],
    ['resyncing', true, 'joining'],
    ['failed', true, 'stale'],
    ['stale', true, 'stale'],
    ['missing', true, 'stale'],
    ['in-sync', false, 'missing'],
    ['resyncing', false, 'missing'],
    ['failed', false, 'missing'],
    ['stale', false, 'missing'],
    ['missing', false, 'missing'],
  ])('takes a leg that was %s, there: %s, as %s', (state, isThere, standing) => {
    const places = [place('/0', true), place('/1', isThere)];
    const { legs, generation, membersEqual } = mirrorOfRecord(
      places,
      record(true, 'in-sync', state),
    );
    expect([generation, membersEqual]).toEqual([7, true]);
    expect(legs[0]).toEqual({
      name: '/0',
      startSector: 0,
      device: THERE,
      standing: 'member',
      errors,
    });
    expect(legs[1]).toMatchObject({ standing, errors, device: isThere ? THERE : null });
    const reason = isThere ? `was ${state}` : '/1 does not exist';
    expect(legs[1]?.reason).toBe(standing === 'member' ? undefined : reason);
  });

  it('does not believe in equal members after an unclean stop', () => {
    const places = [place('/0', true), place('/1', true)];
    expect(mirrorOfRecord(places, record(false, 'in-sync', 'in-sync')).membersEqual).toBe(false);
  });

  it('is refused when no leg in sync is there: a stale one never stands for the set', () => {
    expect(() =>
      mirrorOfRecord([place('/0', false), place('/1', true)], record(true, 'in-sync', 'failed')),
    ).toThrow('no leg in sync is there: /0 was in-sync and is not there, /1 was failed');
    expect(() =>
      mirrorOfRecord([place('/0', true), place('/1', true)], record(true, 'stale', 'resyncing')),
    ).toThrow('no leg in sync is there: /0 was stale, /1 was resyncing');
  });

  it('is refused when record and table name different legs', () => {
    expect(() =>
      mirrorOfRecord([place('/1', true), place('/0', true)], record(true, 'in-sync', 'in-sync')),
    ).toThrow('its record has the legs /0, /1, its table /1, /0');
  });
});
