/**
 * Whether a leg that was out and carries metadata may come back by a copy of what it lacks.
 *
 * | its superblock                              | then                                             |
 * |---------------------------------------------|--------------------------------------------------|
 * | the last it was given, or a later try of it | delta, unless bits were cleared since it left    |
 * | an earlier one of the set                   | rolled back: copied whole                        |
 * | the set's, of a run nobody here knows       | written apart: refused, `--force` copies it whole|
 * | of another leg, or of another set           | refused, `--force` copies it whole               |
 * | none, or damaged                            | its content decides, as without metadata         |
 */
import { ControlError } from '../../core/control/error.ts';
import type { LegMetadata } from '../../core/mirror/assemble-native.ts';
import type { LegHistory } from '../../core/mirror/native-recorder.ts';
import type { Superblock } from '../../core/mirror/superblock.ts';
import type { OwnSuperblock } from './leg-calls.ts';

export interface Claim {
  /** It lacks what the set knows that it lacks, and nothing else. */
  readonly isSame: boolean;
  /** It is this very leg, whatever became of it: its content is ours. */
  readonly isOurs: boolean;
  readonly refusal: ControlError | null;
  readonly own: OwnSuperblock | null;
}

const NOTHING: Claim = { isSame: false, isOurs: false, refusal: null, own: null };

export function claimOf(path: string, metadata: LegMetadata, history: LegHistory): Claim {
  if (metadata.kind !== 'superblock') return NOTHING;
  const { superblock, copy } = metadata;
  const refusal = refusalOf(path, superblock, history);
  if (refusal !== null) return { ...NOTHING, isOurs: true, refusal };
  const { run, sequence, generation } = superblock;
  const isLast = run === history.last.run && sequence >= history.last.sequence;
  const isSame = isLast && generation >= history.clearedWhenLeft;
  return { isSame, isOurs: true, refusal: null, own: isSame ? { sequence, copy } : null };
}

function refusalOf(path: string, superblock: Superblock, history: LegHistory): ControlError | null {
  const { setUuid, setName, legUuid, run, generation, writtenAtMs } = superblock;
  const overwrite = 'it would be overwritten; --force does it';
  if (setUuid !== history.setUuid) {
    const what = `leg ${path} carries metadata of mirror ${setName} (set ${setUuid})`;
    return new ControlError('would-lose-data', `${what}; ${overwrite}`);
  }
  if (legUuid !== history.legUuid) {
    const what = `leg ${path} is another leg of this mirror, ${legUuid}`;
    return new ControlError('would-lose-data', `${what}; ${overwrite}`);
  }
  if (run === history.last.run || history.runs.includes(run)) return null;
  const when = new Date(writtenAtMs).toISOString();
  const what = `leg ${path} was started apart from the others (generation ${generation}, ${when})`;
  return new ControlError('would-lose-data', `${what} and may have been written since; ${overwrite}`);
}
