/** Devices attached as /dev/nbdN on this machine: made, kept through restarts, taken back. */
import { open } from 'node:fs/promises';
import { constants, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName, ERRNO } from '../../core/base/errno.ts';
import type { Log } from '../../core/base/ports.ts';
import { ControlError } from '../../core/control/error.ts';
import type { AttachedReport, AttachReport, DetachReport } from '../../core/control/status.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import type { Offer } from '../../core/export/offer.ts';
import type { NbdServer } from '../net/server.ts';
import { codeOf, reasonOf } from '../system-error.ts';
import { attachedByHand, byHandWords } from './by-hand.ts';
import type { ByHand } from './by-hand.ts';
import { reconfigure } from './kernel-nbd.ts';
import { Keeper } from './keeper.ts';
import { nbdIndexOf, nbdPath } from './nbd-block.ts';
import type { NbdBlocks } from './nbd-block.ts';
import {
  connectArguments,
  findProgram,
  mayAdminister,
  nbdClient,
  NO_MODULE,
  NO_NBD_CLIENT,
  NO_RIGHTS,
  runToEnd,
} from './nbd-client.ts';
import { readRecord, writeRecord } from './record.ts';
import type { AttachedDevice } from './record.ts';
import { checkNumbers, DEAD_SECONDS, TIMEOUT_SECONDS, wantedIndex } from './request.ts';
import type { AttachRequest } from './request.ts';

/** The kernel takes no blocks above a page; unaligned requests are served all the same. */
const MAX_BLOCK_BYTES = 4096;
/** The kernel asks for partitions before nbd-client ends. */
const CLIENT_LIMIT_MS = 30_000;
const SETTLE_LIMIT_MS = 10_000;

export interface AttachmentsOptions {
  readonly server: NbdServer;
  readonly exports: ExportTable;
  readonly blocks: NbdBlocks;
  readonly log: Log;
  /** Where sockets for nbd-client are opened for a moment; an existing folder. */
  readonly socketFolder: string;
  /** Null: nothing is remembered. */
  readonly recordPath: string | null;
}

/** Which nbd devices have a new size, and what went wrong. */
interface SizeTold {
  readonly attached: readonly string[];
  readonly warnings: readonly string[];
}

export class Attachments {
  private readonly options: AttachmentsOptions;
  private readonly keepers = new Map<number, Keeper>();
  /** Numbers that an attach or a detach is at work on. */
  private readonly reserved = new Set<number>();
  private stopped = false;

  constructor(options: AttachmentsOptions) {
    this.options = options;
  }

  /** After the devices have started: gives the kernel new connections for those that died. */
  restore(): void {
    const { recordPath, blocks, log } = this.options;
    if (recordPath === null) return;
    for (const attached of readRecord(recordPath, blocks.bootId)) {
      log.info({ device: attached.name, nbd: nbdPath(attached.index) }, 'attached before');
      this.keep(attached).check();
    }
  }

  /** No new connections from now on; the kernel waits for the next daemon. */
  stop(): void {
    this.stopped = true;
    for (const keeper of this.keepers.values()) keeper.stop();
  }

  /** The nbd devices of a device, as long as the kernel says they are what we have connected. */
  of(name: string): readonly string[] {
    return this.current()
      .filter((attached) => attached.name === name)
      .map(({ index }) => nbdPath(index));
  }

  mountsOf(name: string): readonly { readonly device: string; readonly path: string }[] {
    return this.current()
      .filter((attached) => attached.name === name)
      .flatMap(({ index }) =>
        this.options.blocks.mountsOf(index).map((path) => ({ device: nbdPath(index), path })),
      );
  }

  /**
   * The device has grown: so do its nbd devices, and who uses them hears of it from the kernel. A line for
   * each that could not be told.
   */
  tellSize(name: string, sizeBytes: number): SizeTold {
    const attached: string[] = [];
    const warnings: string[] = [];
    for (const { index } of this.current().filter((one) => one.name === name)) {
      const errno = reconfigure({ index, sizeBytes });
      attached.push(nbdPath(index));
      const keeper = this.keepers.get(index);
      if (errno === ERRNO.OK && keeper !== undefined) {
        keeper.attached = { ...keeper.attached, sizeBytes };
      } else {
        warnings.push(
          `${nbdPath(index)} keeps its size: netlink says ${errnoName(errno)}; attach it anew`,
        );
      }
    }
    if (attached.length > 0) this.remember();
    return { attached, warnings };
  }

  report(): AttachedReport {
    const { blocks, server } = this.options;
    const ours = this.current().map(({ index, name }) => {
      return { index, name, connections: server.connectionsFrom(nbdPath(index)), byHand: false };
    });
    const theirs = this.byHand().map((one) => ({ ...one, byHand: true }));
    const all = [...ours, ...theirs].sort((a, b) => a.index - b.index);
    return {
      attached: all.map(({ index, ...one }) => ({
        ...one,
        device: nbdPath(index),
        sizeBytes: blocks.sizeBytesOf(index),
        mounts: blocks.mountsOf(index),
      })),
    };
  }

  /** @throws ControlError no-device, bad-argument, busy, unsupported, io; nothing is attached then */
  async attach(request: AttachRequest): Promise<AttachReport> {
    const { name } = request;
    const exported = this.options.exports.list().find((one) => one.name === name);
    if (exported === undefined) throw new ControlError('no-device', `no running device ${name}`);
    const wanted = wantedIndex(request.device);
    checkNumbers(request);
    const [already] = this.of(name);
    if (already !== undefined) {
      // Two page caches upon one device would not know of each other.
      throw new ControlError('exists', `device ${name} is attached as ${already} already`);
    }
    this.refuseByHand((one) => one.name === name);
    await this.checkMachine();
    const index = this.reserve(wanted);
    try {
      const attached = await this.connect(index, exported, request);
      const survives = this.giveTimeouts(attached);
      this.keep(attached);
      this.remember();
      const { log } = this.options;
      log.info({ device: name, nbd: nbdPath(index), connections: request.connections }, 'attached');
      return { device: nbdPath(index), name, warning: survives };
    } finally {
      this.reserved.delete(index);
    }
  }

  /** `target`: a device's name, which detaches all it is attached as, or /dev/nbdN. */
  async detach(target: string): Promise<DetachReport> {
    const index = target.startsWith('/') ? nbdIndexOf(target) : undefined;
    const found = this.current().filter((attached) =>
      target.startsWith('/') ? attached.index === index : attached.name === target,
    );
    if (found.length === 0) {
      this.refuseByHand((one) => one.index === index || one.name === target);
      const what = target.startsWith('/') ? 'no device of this daemon' : 'not attached, or unknown';
      throw new ControlError('no-device', `${target}: ${what}`);
    }
    for (const attached of found) this.refuseIfUsed(attached.index);
    for (const attached of found) await this.detachOne(attached);
    return { detached: found.map((attached) => nbdPath(attached.index)) };
  }

  /** A device that is removed by force takes its nbd devices along: their I/O fails. */
  async drop(name: string): Promise<void> {
    for (const attached of this.current().filter((one) => one.name === name)) {
      await this.disconnect(attached);
    }
  }

  /** What the kernel has disconnected is forgotten. */
  private current(): readonly AttachedDevice[] {
    const { blocks } = this.options;
    for (const [index, keeper] of this.keepers) {
      if (blocks.pidOf(index) === keeper.attached.pid) continue;
      keeper.stop();
      this.keepers.delete(index);
      this.remember();
    }
    return [...this.keepers.values()].map(({ attached }) => attached);
  }

  private byHand(): readonly ByHand[] {
    const isKnown = (index: number): boolean => this.keepers.has(index) || this.reserved.has(index);
    return attachedByHand(this.options.blocks, this.options.server, isKnown);
  }

  /** @throws ControlError exists */
  private refuseByHand(isMeant: (one: ByHand) => boolean): void {
    const one = this.byHand().find(isMeant);
    if (one !== undefined) throw new ControlError('exists', byHandWords(one));
  }

  private keep(attached: AttachedDevice): Keeper {
    const keeper = new Keeper(attached, this.options);
    this.keepers.set(attached.index, keeper);
    return keeper;
  }

  private remember(): void {
    const { recordPath, blocks, log } = this.options;
    if (recordPath === null || this.stopped) return;
    const attached = [...this.keepers.values()].map((keeper) => keeper.attached);
    try {
      writeRecord(recordPath, blocks.bootId, attached);
    } catch (error) {
      log.error({ path: recordPath, reason: reasonOf(error) }, 'attachments are not on record');
    }
  }

  /** @throws ControlError unsupported */
  private async checkMachine(): Promise<void> {
    const { blocks } = this.options;
    if (findProgram('nbd-client') === undefined) {
      throw new ControlError('unsupported', NO_NBD_CLIENT);
    }
    if (!blocks.isLoaded) {
      const modprobe = findProgram('modprobe');
      if (modprobe !== undefined) await runToEnd(modprobe, ['nbd'], CLIENT_LIMIT_MS);
      if (!blocks.isLoaded) throw new ControlError('unsupported', NO_MODULE);
    }
    if (!mayAdminister()) throw new ControlError('unsupported', NO_RIGHTS);
  }

  private reserve(wanted: number | undefined): number {
    const { blocks } = this.options;
    const isFree = (index: number): boolean =>
      blocks.pidOf(index) === null && !this.reserved.has(index);
    const indexes = blocks.indexes();
    const index = wanted ?? indexes.find(isFree);
    if (index === undefined) {
      throw new ControlError('busy', `all ${indexes.length} nbd devices are in use`);
    }
    if (!indexes.includes(index)) {
      const last = indexes.at(-1) ?? 0;
      throw new ControlError(
        'no-device',
        `${nbdPath(index)} does not exist; the last is ${nbdPath(last)} (nbds_max of the module)`,
      );
    }
    if (!isFree(index)) throw new ControlError('busy', `${nbdPath(index)} is in use`);
    this.reserved.add(index);
    return index;
  }

  /** nbd-client on a socket of its own: who comes there is the kernel's, and known as such. */
  private async connect(
    index: number,
    exported: Offer,
    request: AttachRequest,
  ): Promise<AttachedDevice> {
    const { server, socketFolder, blocks } = this.options;
    const folder = mkdtempSync(join(socketFolder, 'attach-'));
    const socketPath = join(folder, 'nbd');
    const timeoutSeconds = request.timeoutSeconds ?? TIMEOUT_SECONDS;
    const { connections } = request;
    try {
      const listener = await server.listenFor(socketPath, nbdPath(index), () => {
        this.keepers.get(index)?.check();
      });
      try {
        await nbdClient(
          connectArguments({
            index,
            exportName: exported.name,
            socketPath,
            connections,
            timeoutSeconds,
            blockBytes: Math.min(exported.logicalBlockBytes, MAX_BLOCK_BYTES),
          }),
          CLIENT_LIMIT_MS,
        );
      } finally {
        listener.close();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    const pid = blocks.pidOf(index);
    if (pid === null) throw new ControlError('io', 'nbd-client said yes, but nothing is connected');
    const deadSeconds = request.deadSeconds ?? DEAD_SECONDS;
    const sizeBytes = blocks.sizeBytesOf(index);
    const { name } = exported;
    return { index, name, connections, timeoutSeconds, deadSeconds, sizeBytes, pid };
  }

  /** nbd-client 3.24 cannot: without it a dead connection fails all I/O at once. Null: done. */
  private giveTimeouts({ index, timeoutSeconds, deadSeconds }: AttachedDevice): string | null {
    const errno = reconfigure({ index, timeoutSeconds, deadSeconds });
    if (errno === ERRNO.OK) return null;
    const warning = `${nbdPath(index)} will not survive a restart of the daemon: netlink says ${errnoName(errno)}`;
    this.options.log.warn({ nbd: nbdPath(index), errno: errnoName(errno) }, warning);
    return warning;
  }

  private refuseIfUsed(index: number): void {
    const users = this.options.blocks.usersOf(index);
    if (users.length === 0) return;
    throw new ControlError('busy', `${nbdPath(index)} is ${users.join(', ')}`);
  }

  /** Holds the device exclusively meanwhile: nobody can mount what is going away. */
  private async detachOne(attached: AttachedDevice): Promise<void> {
    const path = nbdPath(attached.index);
    const settle = findProgram('udevadm');
    if (settle !== undefined) await runToEnd(settle, ['settle', '--timeout=5'], SETTLE_LIMIT_MS);
    let file;
    try {
      file = await open(path, constants.O_RDWR | constants.O_EXCL).catch((error: unknown) => {
        if (codeOf(error) !== 'EROFS' && codeOf(error) !== 'EACCES') throw error;
        return open(path, constants.O_RDONLY | constants.O_EXCL);
      });
    } catch (error) {
      if (codeOf(error) !== 'EBUSY') throw new ControlError('io', `${path}: ${reasonOf(error)}`);
      throw new ControlError('busy', `${path} is in use: mounted somewhere, or held by a device`);
    }
    try {
      await file.sync();
      await this.disconnect(attached);
    } catch (error) {
      if (error instanceof ControlError) throw error;
      throw new ControlError('io', `${path}: ${reasonOf(error)}`);
    } finally {
      await file.close();
    }
  }

  private async disconnect({ index, name }: AttachedDevice): Promise<void> {
    const keeper = this.keepers.get(index);
    keeper?.stop();
    try {
      await nbdClient(['-d', nbdPath(index)], CLIENT_LIMIT_MS);
    } catch (error) {
      if (keeper !== undefined) this.keep(keeper.attached).check();
      throw error;
    }
    this.keepers.delete(index);
    this.remember();
    this.options.log.info({ device: name, nbd: nbdPath(index) }, 'detached');
  }
}
