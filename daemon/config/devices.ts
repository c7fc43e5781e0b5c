/** Devices of the config file: as requests, and held against what the state directory remembers. */
import { bytesOfSectors } from '../../core/base/units.ts';
import { isNativeTable, linesOf, logPathOf, pathsOf, readTable } from '../devices/assemble.ts';
import { EXTERNAL } from '../../core/dm/target-mirror.ts';
import { externalOfTable } from '../devices/external-metadata.ts';
import { DEFAULT_READ_POLICY } from '../devices/read-policy.ts';
import { cacheOf } from '../devices/request.ts';
import type { DeviceRequest } from '../devices/request.ts';
import type { DeviceRecord } from '../device-record.ts';
import type { DeviceConfig } from './schema.ts';

/**
 * A configured device that is not on record yet. Its legs must be there: a daemon that starts before
 * a disk is mounted must not make files where the disk belongs.
 */
export function requestOfConfig(name: string, config: DeviceConfig): DeviceRequest {
  const assumeClean = config['assume-clean'] === true;
  return {
    name,
    source: 'config',
    mirror: config.mirror,
    linear: config.linear,
    table: config.table,
    sizeBytes: config.size,
    log: config.log,
    regionSizeBytes: config['region-size'],
    metadataPlace: config.metadata,
    readPolicy: config['read-policy'],
    cache: config.cache,
    legTimeout: config['leg-timeout'],
    assumeClean,
    readOnly: config['read-only'] === true,
    mayCreate: false,
    createHint: '',
    metadata: 'start-or-new',
    content: assumeClean
      ? { kind: 'take' }
      : { kind: 'refuse', remedy: 'assume-clean = true takes legs that are copies of each other' },
  };
}

/** What a device stands on, as far as its lines can be read. */
export function legsOfConfig({ mirror, linear, table }: DeviceConfig): readonly string[] {
  return mirror ?? (linear === undefined ? legsOfTable(table ?? '') : [linear]);
}

export function legsOfRecord({ table }: DeviceRecord): readonly string[] {
  return legsOfTable(table.join('\n'));
}

function legsOfTable(table: string): readonly string[] {
  try {
    return pathsOf(readTable(table));
  } catch {
    return [];
  }
}

/** What in the config file contradicts the record, in words; undefined: they are of one device. */
export function contradiction(config: DeviceConfig, record: DeviceRecord): string | undefined {
  const spec = readTable(record.table.join('\n'));
  const wanted = config.mirror ?? (config.linear === undefined ? undefined : [config.linear]);
  const table = record.table.join('\n');
  const log = logPathOf(table);
  const known = pathsOf(spec).filter((path) => path !== log);
  const isNative = isNativeTable(table);
  const has = isNative ? 'native' : log === undefined ? 'core' : `disk=${log}`;
  if (config.table === undefined && config.log !== undefined && config.log !== has) {
    return `its record has the log ${has}, the config file ${config.log}`;
  }
  const folder = externalOfTable(table)?.folder;
  const place = folder === undefined ? 'internal' : EXTERNAL + folder;
  if (config.table === undefined && config.metadata !== undefined && config.metadata !== place) {
    return `its record has the metadata ${place}, the config file ${config.metadata}`;
  }
  // Legs with metadata of their own are found in any order.
  const [ours, theirs] = isNative ? [wanted?.toSorted(), known.toSorted()] : [wanted, known];
  if (ours !== undefined && !isSame(ours, theirs)) {
    return `its record has the legs ${known.join(', ')}, the config file ${wanted?.join(', ') ?? ''}`;
  }
  if (config.table !== undefined && !isSame(linesOf(config.table), record.table)) {
    return 'its record has another table than the config file';
  }
  const bytes = bytesOfSectors(spec.sectors);
  if (config.size !== undefined && config.size !== bytes) {
    return `its record has ${bytes} bytes, the config file ${config.size}`;
  }
  return undefined;
}

/** What the config file may change from one start to the next. */
export function withConfig(record: DeviceRecord, config: DeviceConfig): DeviceRecord {
  return {
    ...record,
    readOnly: config['read-only'] === true,
    readPolicy: config['read-policy'] ?? DEFAULT_READ_POLICY,
    legTimeout: config['leg-timeout'],
    cache: cacheOf(config.cache, pathsOf(readTable(record.table.join('\n')))),
  };
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
