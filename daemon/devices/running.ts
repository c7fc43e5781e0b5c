/** Brings a device to life where its engine lives: in this thread, or in one of its own. */
import type { MirrorArgs } from '../../core/dm/target-mirror.ts';
import type { Offer } from '../../core/export/offer.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { DeviceIdentity, DeviceRecorder } from '../device-record.ts';
import { assemble, swapTable, type AssemblyRequest, type MirrorPlan } from './assemble.ts';
import type { BuildContext } from './build.ts';
import type { OpenLegs } from './legs.ts';
import { readPolicyOf } from './request.ts';
import { LocalRunner, type Runner, type SwapPlan } from './runner.ts';
import type { WorkerTable } from '../worker/messages.ts';
import type { PlaneThread } from '../worker/threads.ts';
import { mirrorOfRecord, newMirror } from './standing.ts';

export interface Made {
  readonly identity: DeviceIdentity;
  readonly legs: OpenLegs;
  /** Null: the device is new. */
  readonly recorded: MirrorRecord | null;
  /** The legs of a new mirror hold the same bytes. */
  readonly areEqual: boolean;
  /** Legs of a new mirror that are read only where no other is good. */
  readonly writeMostly: readonly string[];
  readonly recorder: DeviceRecorder | null;
  /** The thread it has to live in; null: that of the devices it stands on, or any. */
  readonly thread: PlaneThread | null;
}

export interface Running {
  readonly exported: Offer;
  readonly runner: Runner;
  /** Clients may come: a mirror records who is in sync, and begins to heal. */
  go(): void;
}

/** @throws ControlError */
export function runHere(made: Made, { environment, onEvent }: BuildContext): Running {
  const { areEqual, writeMostly, recorder } = made;
  const requestOf = ({ identity, legs, recorded, eventNr }: SwapPlan): AssemblyRequest => {
    const { name, readOnly } = identity;
    const mirror: MirrorPlan = {
      readPolicy: readPolicyOf(identity.readPolicy),
      recorder: recorder ?? new NoRecorder(environment.loop),
      onEvent: (event) => onEvent(name, event),
      eventNr,
      start: (places, args: MirrorArgs) =>
        recorded === null
          ? newMirror(places, areEqual || args.sync === 'nosync', writeMostly)
          : mirrorOfRecord(places, recorded),
    };
    return { name, table: identity.table.join('\n'), legs, readOnly, mirror };
  };
  const parts = assemble(requestOf({ ...made, eventNr: 0 }), environment);
  const runner = new LocalRunner(parts, (plan) => {
    swapTable(parts, requestOf(plan), environment);
  });
  return { exported: parts.exported, runner, go: () => parts.mirror?.start() };
}

/** @throws ControlError */
export async function runInWorker(made: Made, context: BuildContext): Promise<Running> {
  const { WorkerHost } = await import('../worker/host.ts');
  const { WorkerOffer } = await import('../worker/offer.ts');
  const { identity, legs, recorded, areEqual, writeMostly, recorder } = made;
  const { name, readPolicy } = identity;
  const lower = [...legs.stacked.values()].map(({ below }) => below.place?.thread);
  const host = await WorkerHost.start({
    thread: made.thread ?? lower[0] ?? null,
    start: {
      name,
      readPolicy,
      ...tableOf({ identity, legs, recorded, eventNr: 0 }),
      areEqual,
      writeMostly,
      isRecorded: recorder !== null,
    },
    tableOf,
    log: context.environment.log,
    recorder,
    onEvent: (event) => context.onEvent(name, event),
    onClosed: (id, why) => offer.closed(id, why),
    onDeath: (why) => {
      offer.died();
      context.onDeath(name, why);
    },
  });
  const offer = new WorkerOffer(name, host);
  return { exported: offer, runner: host, go: () => host.go() };
}

/** A table and its open legs, for the other thread. */
export function tableOf({ identity, legs, recorded, eventNr }: SwapPlan): WorkerTable {
  return {
    table: identity.table.join('\n'),
    readOnly: identity.readOnly,
    legs: [...legs.devices].map(([path, { fd, syncFds, isDirect, sectors, limits }]) => {
      return { path, fd, syncFds, direct: isDirect, sectors, limits };
    }),
    lower: [...legs.stacked].map(([path, { below }]) => [path, below.place?.number ?? -1]),
    missing: [...legs.missing],
    recorded,
    eventNr,
  };
}
