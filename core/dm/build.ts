import { SECTOR_SIZE } from '../base/units.ts';
import { assert } from '../base/assert.ts';
import type { BlockDevice } from '../block/device.ts';
import { stackLimits } from '../block/limits.ts';
import type { TableLine, TableSpec } from './parse.ts';
import { Table } from './table.ts';
import type { TableEntry } from './table.ts';
import { TableError } from './target.ts';
import type { DeviceReference, Target, TargetEnvironment } from './target.ts';

/**
 * Makes a live table. `devices[i]` are the open devices of `spec.lines[i].spec.devices`, in that
 * order. Every check comes before the first target is made, so that a refused table leaves no
 * trace.
 * @throws TableError a device too small, not writable, or off its logical block
 */
export function buildTable(
  spec: TableSpec,
  devices: readonly (readonly BlockDevice[])[],
  environment: TargetEnvironment,
): Table {
  assert(devices.length === spec.lines.length, 'a list of devices for every table line');
  spec.lines.forEach((line, i) => checkDevices(line, devices[i] ?? []));
  const entries: TableEntry[] = spec.lines.map((line, i) => ({
    startSector: line.startSector,
    endSector: line.startSector + line.sectors,
    target: buildLine(line, devices[i] ?? [], environment),
  }));
  checkBlockSizes(spec, entries);
  return new Table(entries);
}

/** What a target can only check with its devices in hand. */
function buildLine(
  { spec, lineNumber }: TableLine,
  devices: readonly BlockDevice[],
  environment: TargetEnvironment,
): Target {
  try {
    return spec.build(devices, environment);
  } catch (error) {
    if (!(error instanceof TableError)) throw error;
    throw new TableError(`table line ${lineNumber}: ${error.message}`);
  }
}

function checkDevices(line: TableLine, devices: readonly BlockDevice[]): void {
  const references = line.spec.devices;
  assert(devices.length === references.length, 'a device for every reference of a table line');
  references.forEach((reference, i) => {
    const device = devices[i];
    assert(device !== undefined, 'a device for every reference of a table line');
    const wrong = areaError(reference, device);
    if (wrong !== undefined) throw new TableError(`table line ${line.lineNumber}: ${wrong}`);
  });
}

/** What keeps the device from serving the reference, as a sentence; undefined when nothing does. */
function areaError(reference: DeviceReference, device: BlockDevice): string | undefined {
  const { path, startSector, sectors, writable } = reference;
  if (writable && device.limits.readOnly) return `${path} is read-only`;
  if (startSector + sectors > device.sectors) {
    return (
      `${path} has ${device.sectors} sectors, ` +
      `too small for ${sectors} sectors from ${startSector} on`
    );
  }
  const block = device.limits.logicalBlockSize;
  if ((startSector * SECTOR_SIZE) % block !== 0) {
    return `${path} has blocks of ${block} bytes, start sector ${startSector} is inside one`;
  }
  return undefined;
}

/** A bio of the largest logical block must never lie across two targets. */
function checkBlockSizes(spec: TableSpec, entries: readonly TableEntry[]): void {
  const block = stackLimits(entries.map(({ target }) => target.limits)).logicalBlockSize;
  for (const { lineNumber, startSector, sectors } of spec.lines) {
    if ((startSector * SECTOR_SIZE) % block === 0 && (sectors * SECTOR_SIZE) % block === 0)
      continue;
    throw new TableError(
      `table line ${lineNumber}: start and length must be multiples of ${block / SECTOR_SIZE} sectors, ` +
        `the largest logical block (${block} bytes) of the devices below`,
    );
  }
}
