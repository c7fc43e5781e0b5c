/**
 * `resize`: a device whose legs have grown becomes as long as they have room for. It is the reload of its
 * own table with another length, so everything of live-table.ts holds: checked first, durable before it
 * is live, clients wait meanwhile and see no error.
 *
 * Of a mirror the new end must become alike on all legs. Where it is a hole in all of them (files that were
 * made longer) it is so already; else all legs but one are copied again, as with the kernel's core log.
 */
import { bytesOfSectors } from '../../core/base/units.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { Run, RUN } from '../../core/block/run.ts';
import { ControlError } from '../../core/control/error.ts';
import type { TableSpec } from '../../core/dm/parse.ts';
import type { DeviceReference } from '../../core/dm/target.ts';
import { logPathOf, readKnownTable } from './assemble.ts';
import type { BuildContext } from './build.ts';
import type { Device } from './device.ts';
import { clear, load, resume } from './live-table.ts';

/**
 * `sizeBytes` null: all there is room for.
 * @throws ControlError the device is as it was
 */
export async function resize(
  device: Device,
  sizeBytes: number | null,
  context: BuildContext,
): Promise<void> {
  const lines = await device.tableLines();
  const spec = readKnownTable(lines.join('\n'));
  const places = growable(device, spec, lines.join('\n'));
  await refuseOutOfSync(device);
  await device.legs.lookAgain();
  const blockSectors = device.exported.logicalBlockBytes / 512;
  const room = Math.min(...places.map((place) => roomOf(device, place)));
  const most = room - (room % blockSectors);
  const wanted = sizeBytes === null ? Math.max(most, spec.sectors) : sizeBytes / 512;
  checkSize(device, { wanted, most, blockSectors, sectors: spec.sectors });
  if (wanted === spec.sectors) return;
  const table = lines.map((line) => line.replace(/^(\s*0\s+)\d+/, `$1${wanted}`)).join('\n');
  const endsAlike = places.every((place) => isHole(device, place, spec.sectors, wanted));
  await load(device, table, false, context, endsAlike);
  try {
    await resume(device);
  } catch (error) {
    await clear(device);
    throw error;
  }
}

/** Where the legs of a table lie that can be made longer as a whole. */
function growable(device: Device, spec: TableSpec, text: string): readonly DeviceReference[] {
  const { name, identity, inactive, isSuspended } = device;
  const cannot = (why: string): ControlError => new ControlError('unsupported', `${name}: ${why}`);
  if (identity.setUuid !== null) {
    throw cannot(
      'the native log keeps its records at the end of the legs, where a leg that has grown has none; ' +
        'make a new set on the larger legs and copy',
    );
  }
  if (logPathOf(text) !== undefined) {
    throw cannot('its disk log has bits for these regions only; reload it with the core log first');
  }
  const [line, ...more] = spec.lines;
  const type = line?.spec.type.name;
  if (line === undefined || more.length > 0 || (type !== 'linear' && type !== 'mirror')) {
    throw cannot('only a linear or a mirror grows by itself; reload the table it is to have');
  }
  if (inactive !== null) {
    throw new ControlError('busy', `${name}: a table is loaded already; resume or clear it first`);
  }
  if (isSuspended) throw new ControlError('busy', `${name} is suspended; resume it first`);
  return line.spec.devices;
}

/** The new table would take a leg that is out for one to copy to, whoever has put it out. */
async function refuseOutOfSync({ name, runner }: Device): Promise<void> {
  const mirror = await runner.call('mirror-record', null);
  const out = mirror?.legs.find(({ state }) => state !== 'in-sync');
  if (out === undefined) return;
  throw new ControlError(
    'busy',
    `${name}: leg ${out.path} is ${out.state}; wait until it is in sync, or remove it first`,
  );
}

/** Sectors of the leg behind where the device begins on it. */
function roomOf({ name, legs }: Device, { path, startSector }: DeviceReference): number {
  const open = legs.devices.get(path) ?? legs.stacked.get(path)?.below;
  if (open === undefined) {
    throw new ControlError(
      'busy',
      `${name}: leg ${path} is missing: how long it is nobody knows; bring it back or remove it first`,
    );
  }
  return Math.max(0, open.sectors - startSector);
}

interface Sizes {
  readonly wanted: number;
  readonly most: number;
  readonly blockSectors: number;
  readonly sectors: number;
}

function checkSize({ name }: Device, { wanted, most, blockSectors, sectors }: Sizes): void {
  const bytes = bytesOfSectors(wanted);
  if (!Number.isInteger(wanted) || wanted % blockSectors !== 0) {
    const block = bytesOfSectors(blockSectors);
    throw new ControlError('bad-argument', `${bytes} bytes: expected a multiple of ${block}`);
  }
  if (wanted < sectors) {
    throw new ControlError(
      'would-lose-data',
      `${name} has ${bytesOfSectors(sectors)} bytes: a device does not shrink while clients know its size; ` +
        'remove it and create it anew',
    );
  }
  if (wanted > most && wanted > sectors) {
    throw new ControlError(
      'bad-leg',
      `${bytes} bytes are too many for ${name}: its legs have room for ${bytesOfSectors(most)}`,
    );
  }
}

/** [from, to) of the device is a hole in the file below: it reads as zeros there. */
function isHole(
  { legs }: Device,
  { path, startSector }: DeviceReference,
  from: number,
  to: number,
): boolean {
  const file: BlockDevice | undefined = legs.devices.get(path);
  if (file?.allocationAt === undefined) return false;
  const run = new Run();
  for (let at = startSector + from; at < startSector + to; at += run.sectors) {
    file.allocationAt(at, startSector + to - at, run);
    if ((run.flags & RUN.ZERO) === 0) return false;
  }
  return true;
}
