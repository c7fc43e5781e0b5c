/** How the legs of a mirror stand when it is put together: from nothing, or from its record. */
import type { BlockDevice } from '../../core/block/device.ts';
import { ControlError } from '../../core/control/error.ts';
import { assembleFromRecord } from '../../core/mirror/assemble.ts';
import { STANDING } from '../../core/mirror/leg.ts';
import type { Standing } from '../../core/mirror/leg.ts';
import type { MirrorLegOptions } from '../../core/mirror/options.ts';
import type { NativeRecorder } from '../../core/mirror/native-recorder.ts';
import type { LegRecord, MirrorRecord, MirrorRecorder } from '../../core/mirror/record.ts';
import type { ScrubPlace } from '../../core/mirror/scrub-report.ts';
import type { RegionLogStart } from '../../core/mirror/region-log.ts';

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
  /** Left out: dirty regions are kept in memory. */
  readonly regionLog?: RegionLogStart | undefined;
  /** Where the record is kept, if the log keeps it. */
  readonly recorder?: MirrorRecorder;
  /** Of a set with the native log. */
  readonly clearedGeneration?: number;
  readonly scrubPlace?: ScrubPlace | null;
  readonly native?: NativeRecorder;
}

/**
 * A new set. Legs that are equal by the user's word or because all were made empty just now are
 * members; otherwise the first leg is the truth and the others join it: until they have been
 * copied, none of them may ever stand for the set.
 */
export function newMirror(
  places: readonly LegPlace[],
  areEqual: boolean,
  writeMostly: readonly string[] = [],
): MirrorStart {
  const legs = places.map(({ path, startSector, device }, index) => ({
    name: path,
    startSector,
    device,
    standing: areEqual || index === 0 ? STANDING.MEMBER : STANDING.JOINING,
    writeMostly: writeMostly.includes(path),
  }));
  return { legs, generation: 0, membersEqual: areEqual };
}

/**
 * A set that has been before; core/mirror/assemble.ts has the table of who is what.
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
  const assembly = assembleFromRecord(
    record,
    places.map(({ device }) => device !== null),
  );
  if (assembly.kind === 'refused') {
    const reasons = places.map(({ path, absence }, i) => {
      const state = record.legs[i]?.state ?? 'unknown';
      return `${path} was ${state}${absence === null ? '' : ' and is not there'}`;
    });
    throw new ControlError('no-leg', `${assembly.reason}: ${reasons.join(', ')}`);
  }
  const { standings, generation, membersEqual } = assembly;
  const legs = places.map((place, i): MirrorLegOptions => {
    const standing = standings[i] ?? STANDING.MISSING;
    return legOfRecord(place, standing, record.legs[i]);
  });
  return { legs, generation, membersEqual };
}

function legOfRecord(
  { path, startSector, device, absence }: LegPlace,
  standing: Standing,
  record: LegRecord | undefined,
): MirrorLegOptions {
  const reason = absence ?? record?.reason ?? null;
  return {
    name: path,
    startSector,
    device,
    standing,
    ...(record !== undefined && flagsOf(record)),
    ...(standing !== STANDING.MEMBER && reason !== null && { reason }),
    ...(record !== undefined && { errors: record.errors }),
  };
}

function flagsOf({
  slot,
  writeMostly,
  failedByHand,
  replaces,
}: LegRecord): Pick<MirrorLegOptions, 'slot' | 'writeMostly' | 'failedByHand' | 'replaces'> {
  return { slot, writeMostly, failedByHand, replaces };
}
