/** A device with the native log: what its legs must be, their first metadata, and the way back to it. */
import { randomUUID } from 'node:crypto';
import { bytesOfSectors, sectorsFloor } from '../../core/base/units.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { ControlError } from '../../core/control/error.ts';
import { splitWords } from '../../core/dm/args.ts';
import { EXTERNAL, parseMirrorArgs } from '../../core/dm/target-mirror.ts';
import type { LegMetadata } from '../../core/mirror/assemble-native.ts';
import { nativeSetSectors } from '../../core/mirror/native-format.ts';
import {
  defaultRegionSectors,
  mapSectorOf,
  MAX_LOGICAL_BLOCK,
  MAX_REGIONS_OF_MAP,
  nativeLegSectors,
} from '../../core/mirror/native-layout.ts';
import { isNativeTable, linesOf, readTable } from './assemble.ts';
import { externalFolderOf, externalOfTable, externalPathOf } from './external-metadata.ts';
import type { OpenLegs } from './legs.ts';
import { eraseLegs, formatLegs, metadataAt } from './native-metadata.ts';
import { drawRun, excludedOf, planNative, type NativePlan } from './native-start.ts';
import { logTypeOf, mirrorTable, type DeviceRequest } from './request.ts';

/** True: the request is for a mirror whose legs carry its metadata. */
export function isNativeRequest(request: DeviceRequest): boolean {
  const { mirror, table } = request;
  if (mirror !== undefined) return logTypeOf(request.log) === 'native';
  return table !== undefined && isNativeTable(table);
}

/** Legs that are made for a device of this size: the data and what goes behind it. */
export function createdBytes(request: DeviceRequest, sizeBytes: number): number {
  if (!isNativeRequest(request) || folderOf(request) !== null) return sizeBytes;
  const sectors = sectorsFloor(sizeBytes);
  return bytesOfSectors(nativeLegSectors(sectors, regionSectors(request, sectors)));
}

/** Where the metadata of the request's legs is kept; null: on the legs. @throws ControlError bad-argument */
export function folderOf({ metadataPlace, table }: DeviceRequest): string | null {
  return externalFolderOf(metadataPlace) ?? externalOfTable(table ?? '')?.folder ?? null;
}

/**
 * The legs' metadata files, where the set keeps them apart: made, and what the legs carried themselves
 * is wiped.
 * @throws ControlError bad-leg, and what opening refuses
 */
export async function makeExternal(
  request: DeviceRequest,
  table: string,
  legs: OpenLegs,
  paths: readonly string[],
): Promise<void> {
  const external = externalOfTable(table);
  if (external === null) return;
  for (const path of paths) refuseShort(path, legs, readTable(table).sectors);
  await legs.openMetadata(paths, {
    folder: external.folder,
    makeBytes: external.bytes,
    makesFolder: true,
    force: request.content.kind === 'take',
    moved: false,
  });
}

/** The leg itself holds the data; what is behind it is metadata. @throws ControlError bad-leg */
export function refuseShort(path: string, legs: OpenLegs, sectors: number): void {
  const has = legs.devices.get(path)?.sectors ?? sectors;
  if (has >= sectors) return;
  throw new ControlError(
    'bad-leg',
    `leg ${path} has ${bytesOfSectors(has)} bytes, too small for a device of ${bytesOfSectors(sectors)} bytes`,
  );
}

/** The open legs of a request, in its order. */
type Blocks = ReadonlyMap<string, BlockDevice>;

/** The line of a new mirror, whose legs are open. */
export function nativeTable(request: DeviceRequest, legs: Blocks): string {
  if (request.table !== undefined) return request.table;
  const sizes = [...legs.values()].map(({ sectors }) => sectors);
  const { sizeBytes } = request;
  const region = regionSectors(
    request,
    sizeBytes === undefined ? Math.min(...sizes) : sectorsFloor(sizeBytes),
  );
  const most = folderOf(request) === null ? nativeSetSectors(sizes, region) : Math.min(...sizes);
  const sectors = sizeBytes === undefined ? most : sectorsFloor(sizeBytes);
  if (sectors <= 0) {
    const small = [...legs.values()].find((device) => device.sectors === Math.min(...sizes));
    throw new ControlError(
      'bad-leg',
      `leg ${small?.name ?? ''} has ${bytesOfSectors(small?.sectors ?? 0)} bytes, too small for the metadata of the native log`,
    );
  }
  return mirrorTable(
    request,
    sectors,
    request.regionSizeBytes === undefined ? Math.min(region, largestRegion(sectors)) : region,
  );
}

function regionSectors({ regionSizeBytes }: DeviceRequest, sectors: number): number {
  if (regionSizeBytes !== undefined) return sectorsFloor(regionSizeBytes);
  return Math.min(defaultRegionSectors(sectors), largestRegion(sectors));
}

/** No region is longer than its mirror (the kernel's rule). */
function largestRegion(sectors: number): number {
  return 2 ** Math.max(1, Math.floor(Math.log2(sectors)));
}

/** @throws ControlError unsupported, bad-leg, bad-argument: a leg that cannot carry the metadata */
function refuseUnfit(table: string, legs: Blocks): void {
  const { sectors, regionSectors: region } = geometryOf(table);
  const regions = Math.ceil(sectors / region);
  if (regions > MAX_REGIONS_OF_MAP) {
    throw new ControlError(
      'bad-argument',
      `${regions} regions of ${bytesOfSectors(region)} bytes: the native log has at most ${MAX_REGIONS_OF_MAP}`,
    );
  }
  for (const { name, sectors: has, limits } of legs.values()) {
    if (limits.logicalBlockSize > MAX_LOGICAL_BLOCK) {
      throw new ControlError(
        'bad-leg',
        `leg ${name} has blocks of ${limits.logicalBlockSize} bytes, the native log takes ${MAX_LOGICAL_BLOCK} at most`,
      );
    }
    if (mapSectorOf(has, regions) >= sectors) continue;
    const wanted = bytesOfSectors(nativeLegSectors(sectors, region));
    throw new ControlError(
      'bad-leg',
      `leg ${name} has ${bytesOfSectors(has)} bytes, too small for a device of ${bytesOfSectors(sectors)} bytes ` +
        `and the native log's metadata: ${wanted} are wanted`,
    );
  }
}

function geometryOf(table: string): {
  readonly sectors: number;
  readonly regionSectors: number;
  readonly isNosync: boolean;
} {
  const { sectors } = readTable(table);
  const words = splitWords(linesOf(table)[0] ?? '');
  const args = parseMirrorArgs(sectors, words.slice(3));
  return { sectors, regionSectors: args.regionSectors, isNosync: args.sync === 'nosync' };
}

/** Legs that say that they are of a set, or were. */
export interface Marked {
  readonly path: string;
  readonly device: BlockDevice;
  readonly metadata: Exclude<LegMetadata, { kind: 'none' }>;
}

export async function markedOf(
  legs: OpenLegs,
  paths: readonly string[],
  loop: Loop,
): Promise<readonly Marked[]> {
  const named = [...legs.blocksAt(paths, loop)].map(([path, device]) => ({ path, device }));
  // A leg whose metadata is elsewhere may have been one that carried its own.
  for (const path of legs.metadata.keys()) {
    const device = legs.devices.get(path);
    if (device !== undefined && paths.includes(path)) named.push({ path, device });
  }
  const found = await metadataAt(
    named.map(({ device }) => device),
    loop,
  );
  return named.flatMap(({ path, device }, i) => {
    const metadata = found[i];
    return metadata === undefined || metadata.kind === 'none' ? [] : [{ path, device, metadata }];
  });
}

/** @throws ControlError would-lose-data */
export function refuseMarked(
  marked: readonly Marked[],
  paths: readonly string[],
  remedy: string,
  folder: string | null = null,
): void {
  const [first] = marked;
  if (first === undefined) return;
  const { path, metadata } = first;
  if (metadata.kind === 'invalid') {
    throw new ControlError(
      'would-lose-data',
      `leg ${path} carries metadata of a mirror that cannot be believed (${metadata.reason}); ${remedy}`,
    );
  }
  const { setName, setUuid } = metadata.superblock;
  const isWhole =
    marked.length === paths.length &&
    marked.every(
      (leg) => leg.metadata.kind === 'superblock' && leg.metadata.superblock.setUuid === setUuid,
    );
  const place = folder === null ? '' : ` --metadata ${EXTERNAL}${folder}`;
  const way = isWhole ? `dmio assemble ${paths.join(' ')}${place} starts it; ${remedy}` : remedy;
  throw new ControlError(
    'would-lose-data',
    `leg ${path} carries metadata of mirror ${setName} (set ${setUuid}); ${way}`,
  );
}

/** A set's first metadata, or the set that the legs are of. `undo`: takes back what was written. */
export interface NativeMade {
  readonly plan: NativePlan;
  readonly undo: () => Promise<void>;
}

/**
 * The last step before the device is made: fresh metadata on all legs, read back from them.
 * @throws ControlError the legs carry none then
 */
export async function formatNew(
  request: DeviceRequest,
  table: string,
  legs: Blocks,
  areCreated: boolean,
  loop: Loop,
): Promise<NativeMade> {
  refuseUnfit(table, legs);
  const { sectors, regionSectors: region, isNosync } = geometryOf(table);
  const devices = [...legs.values()];
  const areEqual = areCreated || isNosync;
  const undo = (): Promise<void> => eraseLegs(devices, loop);
  try {
    await formatLegs(
      {
        uuid: randomUUID(),
        name: request.name,
        run: drawRun(),
        dataSectors: sectors,
        regionSectors: region,
        zeroed: areCreated,
        nowMs: Date.now(),
        legs: [...legs].map(([name, device], i) => {
          return { name, uuid: randomUUID(), device, inSync: areEqual || i === 0 };
        }),
      },
      loop,
    );
    const plan = await planNative(legs, { setUuid: null, record: null }, loop);
    return { plan: withWriteMostly(plan, request.writeMostly ?? []), undo };
  } catch (error) {
    await undo().catch(() => undefined);
    throw error;
  }
}

function withWriteMostly(plan: NativePlan, writeMostly: readonly string[]): NativePlan {
  const legs = plan.legs.map((leg) => ({ ...leg, writeMostly: writeMostly.includes(leg.path) }));
  return { ...plan, legs };
}

/**
 * The set that the legs are of already, for who starts the same legs again and again.
 * @throws ControlError bad-leg, would-lose-data
 */
export async function adoptSet(
  request: DeviceRequest,
  legs: OpenLegs,
  blocks: Blocks,
  marked: readonly Marked[],
  loop: Loop,
): Promise<NativeMade> {
  const [created] = legs.created;
  if (created !== undefined) {
    throw new ControlError(
      'would-lose-data',
      `leg ${marked[0]?.path ?? ''} is of a mirror already and ${created} is not there: leave it out, and add it when the mirror runs`,
    );
  }
  const folder = folderOf(request);
  const bare = folder === null ? undefined : [...blocks.keys()].find((p) => !legs.metadata.has(p));
  if (folder !== null && bare !== undefined) {
    throw new ControlError(
      'would-lose-data',
      `leg ${marked[0]?.path ?? ''} is of a mirror already and ${externalPathOf(folder, bare)} is not there: leave ${bare} out, and add it when the mirror runs`,
    );
  }
  const plan = await planNative(blocks, { setUuid: null, record: null }, loop);
  const [stranger] = excludedOf(plan);
  if (stranger !== undefined) {
    throw new ControlError(
      'bad-leg',
      `leg ${stranger.path}: ${stranger.reason}; the other legs are of a mirror: leave it out`,
    );
  }
  const has = bytesOfSectors(plan.assembly.ruler.dataSectors);
  if (request.sizeBytes !== undefined && request.sizeBytes !== has) {
    throw new ControlError(
      'bad-argument',
      `size ${request.sizeBytes}: the mirror on these legs has ${has} bytes`,
    );
  }
  const region = bytesOfSectors(plan.assembly.ruler.regionSectors);
  if (request.regionSizeBytes !== undefined && request.regionSizeBytes !== region) {
    throw new ControlError(
      'bad-argument',
      `region size ${request.regionSizeBytes}: the mirror on these legs has ${region}`,
    );
  }
  return { plan, undo: () => Promise.resolve() };
}

/** What has no device is said to be missing; what is no leg of the set is let go. */
export async function fitLegs(legs: OpenLegs, plan: NativePlan): Promise<void> {
  for (const { path } of excludedOf(plan)) await legs.closeOne(path);
  for (const { path, state } of plan.legs) {
    if (state === 'missing' && !legs.missing.has(path))
      legs.missing.set(path, 'not found among the legs');
  }
}
