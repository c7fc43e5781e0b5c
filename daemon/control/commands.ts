/** What each command of the control protocol does. */
import { resolve } from 'node:path';
import { mapCacheWord } from '../../core/control/cache.ts';
import { mapLegTimeoutWord } from '../../core/control/leg-timeout.ts';
import { ControlError } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { parseArgs } from '../../core/control/messages.ts';
import type { CommandArgs, CommandName, CommandResults } from '../../core/control/messages.ts';
import { PROTOCOL_VERSION, VERSION } from '../../core/control/version.ts';
import { absoluteLeg } from '../config/load.ts';
import { mapLogPath } from '../devices/request.ts';
import { ALL_TARGET_TYPES, withAbsolutePaths } from '../devices/assemble.ts';
import { externalFolderOf, mapMetadataPath } from '../devices/external-metadata.ts';
import type { Attachments } from '../attach/attachments.ts';
import type { EngineName } from '../engine.ts';
import type { BuildContext } from '../devices/build.ts';
import type { Device } from '../devices/device.ts';
import { clear, load, resume, suspend } from '../devices/live-table.ts';
import { resize } from '../devices/resize.ts';
import type { TableChangeReport } from '../../core/control/status.ts';
import type { DeviceManager } from '../devices/manager.ts';
import { legsError } from '../devices/request.ts';
import type { DeviceRequest } from '../devices/request.ts';
import type { Handler } from './server.ts';

export interface CommandContext {
  readonly manager: DeviceManager;
  /** True for a device that the config file brings back. */
  readonly isConfigured: (name: string) => boolean;
  readonly uriOf: (name: string) => string | null;
  readonly engine: EngineName;
  readonly attachments: Attachments;
}

type Commands = {
  readonly [C in CommandName]: (
    args: CommandArgs<C>,
    context: CommandContext,
    signal: AbortSignal,
  ) => CommandResults[C] | Promise<CommandResults[C]>;
};

const COMMANDS: Commands = {
  create,
  assemble,
  remove: async ({ name, force }, { manager, isConfigured, attachments }) => {
    if (force === true) await attachments.drop(name);
    await manager.remove(name, force === true);
    return { name, inConfig: isConfigured(name) };
  },
  ls: async (_, { manager }) => {
    const found = await manager.status();
    const devices = found.map(({ name, sizeBytes, target, state, uri }) => {
      return { name, sizeBytes, target, state, uri };
    });
    return { devices };
  },
  status: async ({ name, cells }, { manager, attachments }) => {
    const found = await manager.status(name, cells);
    const devices = found.map((device) => {
      const attached = attachments.of(device.name);
      return { ...device, attached, mounts: attachments.mountsOf(device.name) };
    });
    return { devices };
  },
  attach: (args, { attachments }) => attachments.attach(args),
  detach: ({ target }, { attachments }) => attachments.detach(target),
  attached: (_, { attachments }) => attachments.report(),
  'status-dm': async ({ name }, { manager }) => ({ devices: await manager.statusLines(name) }),
  table: async ({ name }, { manager }) => ({ devices: await manager.tables(name) }),
  info: async ({ name }, { manager }) => ({ devices: await manager.info(name) }),
  targets: () => ({
    targets: [...ALL_TARGET_TYPES]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, version }) => ({ name, version })),
  }),
  deps: async ({ name }, { manager }) => ({ name, deps: await manager.deps(name) }),
  version: (_, { engine }) => ({
    version: VERSION,
    protocol: PROTOCOL_VERSION,
    pid: process.pid,
    node: process.version,
    engine,
  }),
  wait: ({ name, eventNr, timeoutMs }, { manager }, signal) =>
    manager.wait(name, eventNr, timeoutMs, signal),
  suspend: ({ name, flush }, context) =>
    changeTable(name, context, (device) => suspend(device, flush !== false)),
  resume: ({ name }, context) => changeTable(name, context, resume),
  reload: ({ name, table, cwd, force }, context) =>
    changeTable(name, context, (device, build) =>
      load(device, withAbsolutePaths(table, cwd ?? '/'), force === true, build),
    ),
  clear: ({ name }, context) => changeTable(name, context, clear),
  resize: resizeDevice,
  message: async ({ name, sector, words }, { manager }) => ({
    name,
    answer: await manager.message(name, sector ?? 0, words),
  }),
  'leg-add': ({ name, leg, ...options }, context) => addLeg(name, leg, null, options, context),
  'leg-replace': ({ name, old, leg, ...options }, context) =>
    addLeg(name, leg, old, options, context),
  'leg-fail': async ({ name, leg }, { manager }) => ({
    name,
    ...(await manager.legsOf(name).fail(leg)),
  }),
  'leg-remove': async ({ name, leg }, { manager, isConfigured }) => {
    const removed = await manager.legsOf(name).remove(leg);
    return { name, ...removed, inConfig: isConfigured(name) };
  },
  'leg-re-add': async ({ name, leg, force }, { manager }) => ({
    name,
    ...(await manager.legsOf(name).readd(leg, force === true)),
  }),
  scrub: ({ name, action, repair, from, anew }, { manager }) =>
    manager.scrub(name, {
      action,
      repair: repair ?? 'none',
      from: from ?? null,
      anew: anew === true,
    }),
  resync: ({ name, action, minBytesPerSecond, maxBytesPerSecond }, { manager }) =>
    manager.resync(name, {
      action,
      minBytesPerSecond: minBytesPerSecond ?? null,
      maxBytesPerSecond: maxBytesPerSecond ?? null,
    }),
  stats: ({ name }, { manager }) => manager.stats(name),
  events: ({ name, after, waitMs }, { manager }, signal) =>
    manager.eventsSince(after ?? 0, name, waitMs ?? 0, signal),
};

export function makeHandler(context: CommandContext): Handler {
  return async ({ command, args }, signal) => {
    // One command, its arguments and its function: the union of all three is too wide for TypeScript.
    const run = COMMANDS[command] as (...all: unknown[]) => unknown;
    return run(parseArgs(command, args), context, signal);
  };
}

async function changeTable(
  name: string,
  { manager, isConfigured }: CommandContext,
  change: (device: Device, context: BuildContext) => Promise<void>,
): Promise<TableChangeReport> {
  const { isSuspended, inactive } = await manager.change(name, change);
  return {
    name,
    state: isSuspended ? 'SUSPENDED' : 'ACTIVE',
    tables: inactive === null ? ['live'] : ['live', 'inactive'],
    inConfig: isConfigured(name),
  };
}

async function resizeDevice(
  { name, sizeBytes }: CommandArgs<'resize'>,
  { manager, attachments, isConfigured }: CommandContext,
): Promise<CommandResults['resize']> {
  let beforeBytes = 0;
  const device = await manager.change(name, async (found, build) => {
    beforeBytes = found.exported.sizeBytes;
    await resize(found, sizeBytes ?? null, build);
  });
  const bytes = device.exported.sizeBytes;
  const told = attachments.tellSize(name, bytes);
  return { name, beforeBytes, sizeBytes: bytes, ...told, inConfig: isConfigured(name) };
}

async function create(
  args: CommandArgs<'create'>,
  { manager, uriOf }: CommandContext,
): Promise<CommandResults['create']> {
  const { name } = args;
  const { device, createdLegs } = await manager.create(requestOf(args));
  const { sizeBytes } = device.exported;
  return { name, sizeBytes, uri: uriOf(name), createdLegs };
}

async function assemble(
  { legs: paths, name: asked, force, metadata, moved, cwd }: CommandArgs<'assemble'>,
  { manager, uriOf }: CommandContext,
): Promise<CommandResults['assemble']> {
  if (paths.length === 0) throw new ControlError('bad-argument', 'no leg is given');
  for (const leg of paths) refuseRelative(leg);
  const { device, leftOut } = await manager.assemble(paths, asked ?? null, {
    force: force === true,
    folder: externalFolderOf(mapMetadataPath(metadata, (path) => resolve(cwd ?? '/', path))),
    moved: moved === true,
  });
  const { name } = device;
  const [status] = await manager.status(name);
  if (status === undefined) throw new ControlError('no-device', `no device ${name}`);
  const { sizeBytes } = device.exported;
  return { name, sizeBytes, uri: uriOf(name), state: status.state, legs: status.legs, leftOut };
}

async function addLeg(
  name: string,
  leg: string,
  replaces: string | null,
  options: Omit<CommandArgs<'leg-add'>, 'name' | 'leg'>,
  { manager, isConfigured }: CommandContext,
): Promise<CommandResults['leg-add']> {
  refuseRelative(leg);
  const legs = manager.legsOf(name);
  const added = await legs.add(leg, {
    writeMostly: options.writeMostly === true,
    force: options.force === true,
    create: options.create === true,
    replaces,
  });
  return { name, ...added, inConfig: isConfigured(name) };
}

/** The daemon stands elsewhere than the user. */
function refuseRelative(leg: string): void {
  const problem = legsError([leg, leg]);
  if (problem !== undefined) throw new ControlError('bad-argument', problem);
  if (isLegUri(leg) || resolve(leg) === leg) return;
  throw new ControlError('bad-argument', `leg ${leg}: an absolute path is wanted`);
}

function requestOf(args: CommandArgs<'create'>): DeviceRequest {
  const { cwd, force, table, cache, legTimeout, metadata, assumeClean, readOnly, ...rest } = args;
  for (const leg of args.mirror ?? []) if (leg !== '') refuseRelative(leg);
  return {
    ...rest,
    ...(table !== undefined && { table: withAbsolutePaths(table, cwd ?? '/') }),
    cache: cache?.map((word) => mapCacheWord(word, (leg) => absoluteLeg(leg, cwd ?? '/'))),
    legTimeout: legTimeout?.map((word) =>
      mapLegTimeoutWord(word, (leg) => absoluteLeg(leg, cwd ?? '/')),
    ),
    log: mapLogPath(args.log, (path) => resolve(cwd ?? '/', path)),
    metadataPlace: mapMetadataPath(metadata, (path) => resolve(cwd ?? '/', path)),
    source: 'create',
    assumeClean: assumeClean === true,
    readOnly: readOnly === true,
    mayCreate: true,
    createHint: '--size S makes it',
    content: force === true ? { kind: 'take' } : REFUSE,
    metadata: 'new',
  };
}

const REFUSE = {
  kind: 'refuse',
  remedy: 'a new mirror may overwrite it; --force takes it all the same',
} as const;
