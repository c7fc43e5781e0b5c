/** What the control thread and a data-plane thread say to each other. Plain data, cloned. */
import type { QueueLimits } from '../../core/block/limits.ts';
import type { LogFields } from '../../core/base/ports.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { OpenLeg } from '../devices/assemble.ts';
import type { Agreement } from '../../core/nbd/agreement.ts';
import type { ClientFds } from '../net/socket-taker.ts';
import type { NativePlan } from '../devices/native-start.ts';
import type { CallArgs, CallName, CallValue } from '../devices/calls.ts';

/** A table, and what it is made of. */
export interface WorkerTable {
  readonly table: string;
  readonly readOnly: boolean;
  readonly legs: readonly OpenLeg[];
  /** Legs that are devices of the same thread: path and number there. */
  readonly lower: readonly (readonly [path: string, device: number])[];
  /** Legs that are not there: path and why. */
  readonly missing: readonly (readonly [path: string, reason: string])[];
  readonly recorded: MirrorRecord | null;
  /** The bytes of its `disk` log; null: none, or it is begun anew. */
  readonly log: Uint8Array | null;
  /** The number of the last event there was. */
  readonly eventNr: number;
}

/** `workerData` of a data-plane thread. */
export interface ThreadStart {
  /** An eventfd: written to when a message waits. */
  readonly wakeFd: number;
  readonly arenaBytes: number;
  readonly maxConnections: number;
  readonly stallTimeoutMs: number;
}

/** To a thread. `device`: the number of a device there. */
export type ToThread =
  | { readonly kind: 'add'; readonly device: number; readonly start: WorkerStart }
  | { readonly kind: 'device'; readonly device: number; readonly message: ToWorker }
  | { readonly kind: 'stall-timeout'; readonly stallTimeoutMs: number }
  /** No device is left. */
  | { readonly kind: 'end' };

export interface FromThread {
  readonly device: number;
  readonly message: FromWorker;
}

/** Everything a device is made of. */
export interface WorkerStart extends WorkerTable {
  readonly name: string;
  readonly readPolicy: string;
  readonly legTimeout: readonly string[];
  /** A new mirror's legs hold the same bytes. */
  readonly areEqual: boolean;
  /** Legs of a new mirror that are read only where no other is good. */
  readonly writeMostly: readonly string[];
  /** False: nothing is remembered, and `record` messages are not sent. */
  readonly isRecorded: boolean;
  /** Of a mirror with the native log: what its legs say. */
  readonly native: NativePlan | null;
}

/** What clients negotiate about; the device itself is in the worker. */
export interface OfferFacts {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly transmissionFlags: number;
  readonly preferredBlockBytes: number;
  /** Of the device itself, for one that stands on it. */
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly logicalBlockBytes: number;
  readonly contexts: readonly string[];
}

export type ToWorker =
  | {
      readonly kind: 'connect';
      readonly id: number;
      /** The thread's to close. */
      readonly fds: ClientFds;
      readonly early: Uint8Array;
      readonly agreed: Agreement;
    }
  | { readonly kind: 'hang-up'; readonly id: number }
  | { readonly kind: 'stand-down'; readonly id: number }
  | { readonly kind: 'recorded'; readonly id: number; readonly errno: number }
  | ToWorkerLeg
  | { readonly kind: 'go' }
  | { readonly kind: 'call'; readonly id: number; readonly call: WorkerCall };

/** Of a remote leg's connections. `id`: its plan's. */
export type ToWorkerLeg =
  | {
      readonly kind: 'leg-link';
      readonly id: number;
      readonly slot: number;
      readonly fd: number;
      readonly isStructured: boolean;
      readonly allocationId: number | null;
    }
  | { readonly kind: 'leg-fenced'; readonly id: number; readonly slot: number }
  | { readonly kind: 'leg-refused'; readonly id: number; readonly why: string };

export type FromWorkerLeg =
  | { readonly kind: 'leg-connect'; readonly id: number; readonly slot: number }
  /** The thread has let go of the connection; `isOver`: its server has closed it. */
  | {
      readonly kind: 'leg-fence';
      readonly id: number;
      readonly slot: number;
      readonly isOver: boolean;
    };

export type WorkerCall =
  /** One of daemon/devices/calls.ts. */
  | { readonly name: 'device'; readonly call: CallName; readonly args: CallArgs<CallName> }
  /** Another table for a device that is suspended and frozen; answered with its OfferFacts. */
  | { readonly name: 'swap'; readonly next: WorkerTable }
  /** From now on requests get ESHUTDOWN; answered when none is with the device. */
  | { readonly name: 'shut-down' }
  /** Flush, mark clean. Answered with an errno; nothing may come after. */
  | { readonly name: 'settle' };

export type LogLevel = 'info' | 'warn' | 'error';

export type FromWorker =
  | { readonly kind: 'ready'; readonly offer: OfferFacts }
  /** Instead of `ready`: the device cannot be made of this. */
  | { readonly kind: 'unfit'; readonly code: string; readonly why: string }
  | { readonly kind: 'closed'; readonly id: number; readonly why: string }
  | { readonly kind: 'record'; readonly id: number; readonly state: MirrorRecord }
  | FromWorkerLeg
  | { readonly kind: 'event'; readonly event: MirrorEvent }
  | {
      readonly kind: 'log';
      readonly level: LogLevel;
      readonly fields: LogFields;
      readonly message: string;
    }
  | { readonly kind: 'answer'; readonly id: number; readonly value: WorkerAnswer }
  | { readonly kind: 'refused'; readonly id: number; readonly code: string; readonly why: string };

export type WorkerAnswer = CallValue<CallName> | OfferFacts | number;
