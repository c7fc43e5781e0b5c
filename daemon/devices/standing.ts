/** How the legs of a mirror stand when it is put together: from nothing, or from its record. */
import type { BlockDevice } from '../../core/block/device.ts';
import { ControlError } from '../../core/control/error.ts';
import { STANDING } from '../../core/mirror/leg.ts';
import type { Standing } from '../../core/mirror/leg.ts';
import type { MirrorLegOptions } from '../../core/mirror/options.ts';
import type { LegRecord, MirrorRecord } from '../../core/mirror/record.ts';

export interface LegPlace {
  readonly path: string;
  readonly startSector: number;
  /** Null: not there, because of `absence`. */
  readonly device: BlockDevice | null;
  readonly absence: string | null;
}

export interface MirrorStart {
  readonly legs: readonly MirrorLegOptions[];
  readonly generation: number;
  readonly membersEqual: boolean;
}

/**
 * A new set. Legs that are equal by the user's word or because all were made empty just now are
 * members; otherwise the first leg is the truth and the others join it: until they have been
 * copied, none of them may ever stand for the set.
 */
export function newMirror(places: readonly LegPlace[], areEqual: boolean): MirrorStart {
  const legs = places.map(({ path, startSector, device }, index) => ({
    name: path,
    startSector,
    device,
    standing: areEqual || index === 0 ? STANDING.MEMBER : STANDING.JOINING,
  }));
  return { legs, generation: 0, membersEqual: areEqual };
}

/**
 * A set that has been before:
 *
 *   recorded             there             not there
 *   in-sync              member            missing
 *   resyncing            joining: its copy begins anew    missing
 *   failed, stale        stale             missing
 *   missing              stale: it has missed writes      missing
 *
 * @throws ControlError no-leg: no leg that is recorded in sync is there
 */
export function mirrorOfRecord(places: readonly LegPlace[], record: MirrorRecord): MirrorStart {
  const recorded = record.legs.map(({ path }) => path);
  const wanted = places.map(({ path }) => path);
  if (JSON.stringify(recorded) !== JSON.stringify(wanted)) {
    throw new ControlError(
      'bad-leg',
      `its record has the legs ${recorded.join(', ')}, its table ${wanted.join(', ')}`,
    );
  }
  const legs = places.map((place, i): MirrorLegOptions => legOfRecord(place, record.legs[i]));
  if (!legs.some(({ standing }) => standing === STANDING.MEMBER)) {
    const reasons = places.map(({ path, absence }, i) => {
      const state = record.legs[i]?.state ?? 'unknown';
      return `${path} was ${state}${absence === null ? '' : ' and is not there'}`;
    });
    throw new ControlError('no-leg', `no leg in sync is there: ${reasons.join(', ')}`);
  }
  return { legs, generation: record.generation, membersEqual: record.clean };
}

function legOfRecord(place: LegPlace, record: LegRecord | undefined): MirrorLegOptions {
  const { path, startSector, device, absence } = place;
  const standing = standingOf(record?.state ?? 'missing', device !== null);
  const reason = absence ?? record?.reason ?? null;
  return {
    name: path,
    startSector,
    device,
    standing,
    ...(standing !== STANDING.MEMBER && reason !== null && { reason }),
    ...(record !== undefined && { errors: record.errors }),
  };
}

function standingOf(state: LegRecord['state'], isThere: boolean): Standing {
  if (!isThere) return STANDING.MISSING;
  switch (state) {
    case 'in-sync':
      return STANDING.MEMBER;
    case 'resyncing':
      return STANDING.JOINING;
    case 'failed':
    case 'stale':
    case 'missing':
      return STANDING.STALE;
  }
}
