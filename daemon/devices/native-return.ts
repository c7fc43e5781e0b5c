/**
 * Whether a leg that was out and carries metadata may be taken in again without `--force`.
 *
 * | its superblock                             | then                                              |
 * |--------------------------------------------|---------------------------------------------------|
 * | the last it was given, or a later try of it| copied where it lacks (NativeRecorder.strangeness)|
 * | an earlier one of the set                  | rolled back: copied whole                         |
 * | the set's, of a run nobody here knows      | written apart: refused, `--force` copies it whole |
 * | of another leg, or of another set          | refused, `--force` copies it whole                |
 * | none, or damaged                           | its content decides, as without metadata          |
 */
import { ControlError } from '../../core/control/error.ts';
import type { LegHistory } from '../../core/mirror/native-recorder.ts';
import type { Superblock } from '../../core/mirror/superblock.ts';

/** @throws ControlError would-lose-data */
export function refuseApart(path: string, superblock: Superblock, history: LegHistory): void {
  const what = strangenessOf(superblock, history);
  if (what === null) return;
  const message = `leg ${path} ${what}; it would be overwritten; --force does it`;
  throw new ControlError('would-lose-data', message);
}

function strangenessOf(superblock: Superblock, history: LegHistory): string | null {
  const { setUuid, setName, legUuid, run, generation, writtenAtMs } = superblock;
  if (setUuid !== history.setUuid) {
    return `carries metadata of mirror ${setName} (set ${setUuid})`;
  }
  if (legUuid !== history.legUuid) return `is another leg of this mirror, ${legUuid}`;
  if (history.runs.includes(run)) return null;
  const when = new Date(writtenAtMs).toISOString();
  return `was started apart from the others (generation ${generation}, ${when}) and may have been written since`;
}
