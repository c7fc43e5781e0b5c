/** `dmio examine`: what the metadata of a leg says, daemon or not. Nothing is locked, nothing written. */
import { resolve } from 'node:path';
import { formatBytes } from '../core/base/units.ts';
import type { LegDescription } from '../core/mirror/native-describe.ts';
import { describe } from './devices/native-metadata.ts';
import {
  externalFolderOf,
  lookAtExternal,
  mapMetadataPath,
  withExternal,
} from './devices/external-metadata.ts';
import { controlErrorOf } from './devices/legs.ts';
import { openFileDevice } from './fsio/engine.ts';
import type { FileDevice } from './fsio/file-device.ts';
import { createNodeLoop } from './node-loop.ts';

type Rows = readonly (readonly string[])[];

export interface Examined {
  readonly description: LegDescription;
  /** For people: what it says of itself and the set, and the legs as it saw them last. */
  readonly facts: Rows;
  readonly legs: Rows;
  /** Why it is no leg of a set; null: it is. */
  readonly problem: string | null;
}

/**
 * Reads a file or a block device as it is now; a mirror that runs may write meanwhile.
 * @throws ControlError no-leg, bad-leg
 */
export async function examineLeg(path: string, metadata?: string): Promise<Examined> {
  const folder = externalFolderOf(mapMetadataPath(metadata, (given) => resolve(given)));
  const loop = createNodeLoop();
  const options = { loop, readOnly: true, exclusive: false };
  const device = await openFileDevice(path, options).catch((error: unknown) => {
    throw controlErrorOf(error);
  });
  let file: FileDevice | null = null;
  try {
    if (folder !== null) file = await lookAtExternal(path, device, folder);
    const whole = file === null ? device : withExternal(device, file, loop);
    const description = await describe(whole, loop);
    const where = file === null ? [] : [['Metadata:', file.name]];
    return {
      description,
      facts: [...factsOf(path, description), ...where],
      legs: legsOf(description),
      problem: problemOf(description),
    };
  } catch (error) {
    throw controlErrorOf(error);
  } finally {
    await file?.close();
    await device.close();
  }
}

function problemOf({ superblock, superblockA, superblockB }: LegDescription): string | null {
  if (superblock !== null) return null;
  const reasons = [superblockA, superblockB].flatMap(({ sector, reason }) =>
    reason === null ? [] : [`the superblock at sector ${sector}: ${reason}`],
  );
  return reasons.length === 0 ? 'no metadata of a dmiod mirror' : reasons.join('; ');
}

function factsOf(path: string, description: LegDescription): Rows {
  const { superblock, superblockA, superblockB, map } = description;
  if (superblock === null) return [];
  const { set, leg, generation, clearedGeneration, regionBytes, regions } = superblock;
  const facts = [
    ['Leg:', path],
    ['Set UUID:', set.uuid],
    ['Set name:', set.name],
    ['Leg UUID:', `${leg.uuid} (slot ${leg.slot})`],
    ['Generation:', `${generation}, bits cleared up to ${clearedGeneration}`],
    ['State:', superblock.clean ? 'clean' : 'in use, or not stopped cleanly'],
    ['Written:', superblock.writtenAt],
    ['Data:', `${formatBytes(superblock.dataBytes)} of ${formatBytes(superblock.deviceBytes)}`],
    ['Regions:', `${regions} of ${formatBytes(regionBytes)}`],
    ['Superblock A:', copyLine(superblockA)],
    ['Superblock B:', copyLine(superblockB)],
  ];
  if (map === null) return facts;
  const { neverWritten, clean, dirty, badSectors } = map;
  const damage = badSectors === 0 ? '' : `, ${badSectors} of its sectors cannot be believed`;
  const counts = `${neverWritten} never written, ${clean} clean, ${dirty} dirty`;
  return [...facts, ['Map:', `${counts}${damage}`]];
}

function legsOf({ superblock, map }: LegDescription): Rows {
  const lacks = new Map(map?.lacks.map(({ slot, regions }) => [slot, regions]));
  return (superblock?.legs ?? []).map(({ slot, uuid, state, name }) => {
    const lacking = lacks.get(slot) ?? 0;
    return [String(slot), uuid, state, lacking === 0 ? '' : `lacks ${lacking} regions`, name];
  });
}

function copyLine({ sector, state, reason, sequence }: LegDescription['superblockA']): string {
  const at = `sector ${sector}`;
  if (state === 'valid') return `${at}, sequence ${sequence ?? 0}`;
  return `${at}, ${reason ?? 'none'}`;
}
