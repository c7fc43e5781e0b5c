import { Arena } from '../../core/block/arena.ts';
import type { Loop } from '../../core/block/loop.ts';
import { Export, type ExportOptions } from '../../core/export/export.ts';
import { PLAIN, type Agreement } from '../../core/nbd/agreement.ts';
import { NBD_ERROR, nameIn } from '../../core/nbd/proto.ts';
import { createManualLoop, runUntilIdle } from './manual-loop.ts';
import { MemoryDevice, type MemoryDeviceOptions } from './memory-device.ts';
import { SessionClient } from './session-client.ts';

export interface WorldOptions {
  readonly device?: Partial<Omit<MemoryDeviceOptions, 'loop'>>;
  readonly target?: Partial<Omit<ExportOptions, 'device'>>;
  readonly arenaBytes?: number;
}

/** A memory device, an export of it, an arena, and any number of clients on one manual loop. */
export class SessionWorld {
  readonly loop: Loop = createManualLoop();
  readonly device: MemoryDevice;
  readonly target: Export;
  readonly arena: Arena;

  constructor(options: WorldOptions = {}) {
    this.device = new MemoryDevice({ sectors: 2048, ...options.device, loop: this.loop });
    this.target = new Export({ name: 'disk', ...options.target, device: this.device });
    this.arena = new Arena(new Uint8Array(options.arenaBytes ?? 2 ** 22), this.loop);
  }

  client(agreed: Agreement = PLAIN): SessionClient {
    return new SessionClient(this.target, this.arena, agreed);
  }

  run(): void {
    runUntilIdle(this.loop);
  }

  /** All that can be left behind, when nothing should be. */
  leftovers(): Readonly<Record<string, number>> {
    return {
      arenaBytes: this.arena.usedBytes,
      arenaWaiters: this.arena.waiters,
      claims: this.target.writes.length,
      biosInFlight: this.device.inFlight,
      requestsInFlight: this.target.requestsInFlight,
      connections: this.target.connections,
    };
  }
}

export const NOTHING_LEFT = {
  arenaBytes: 0,
  arenaWaiters: 0,
  claims: 0,
  biosInFlight: 0,
  requestsInFlight: 0,
  connections: 0,
} as const;

/** The replies so far, as `cookie ERROR`. */
export function said(client: SessionClient): string[] {
  return client.replies.map(({ cookie, error }) => `${cookie} ${nameIn(NBD_ERROR, error)}`);
}

export function expectLeft(world: SessionWorld, but: object = {}): void {
  expect(world.leftovers()).toEqual({ ...NOTHING_LEFT, ...but });
}

export const filled = (length: number, byte: number): Uint8Array =>
  new Uint8Array(length).fill(byte);
