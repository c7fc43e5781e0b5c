/** Brings a device to life where its engine lives: in this thread, or in one of its own. */
import type { MirrorArgs } from '../../core/dm/target-mirror.ts';
import type { Offer } from '../../core/export/offer.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { DeviceIdentity, DeviceRecorder } from '../device-record.ts';
import { assemble, swapTable, type AssemblyRequest, type MirrorPlan } from './assemble.ts';
import type { BuildContext } from './build.ts';
import { RemoteLeg } from '../remote/leg.ts';
import type { FromWorkerLeg } from '../worker/messages.ts';
import { withDiskLog } from './disk-log.ts';
import type { OpenLegs } from './legs.ts';
import { legTimeoutMs } from '../../core/control/leg-timeout.ts';
import { readPolicyOf } from './request.ts';
import { LocalRunner, type Runner, type SwapPlan } from './runner.ts';
import type { WorkerTable } from '../worker/messages.ts';
import type { PlaneThread } from '../worker/threads.ts';
import { startOfPlan, type NativePlan } from './native-start.ts';
import { mirrorOfRecord, newMirror } from './standing.ts';

export interface Made {
  readonly identity: DeviceIdentity;
  readonly legs: OpenLegs;
  /** Null: the device is new. */
  readonly recorded: MirrorRecord | null;
  /** The bytes of its `disk` log; null: none, or it is begun anew. */
  readonly log: Uint8Array | null;
  /** The legs of a new mirror hold the same bytes. */
  readonly areEqual: boolean;
  /** Legs of a new mirror that are read only where no other is good. */
  readonly writeMostly: readonly string[];
  readonly recorder: DeviceRecorder | null;
  /** The thread it has to live in; null: that of the devices it stands on, or any. */
  readonly thread: PlaneThread | null;
  /** Of a mirror with the native log: what its legs say. */
  readonly native: NativePlan | null;
}

export interface Running {
  readonly exported: Offer;
  readonly runner: Runner;
  /** Clients may come: a mirror records who is in sync, and begins to heal. */
  go(): void;
}

/** @throws ControlError */
export function runHere(made: Made, { environment, onEvent }: BuildContext): Running {
  const { areEqual, writeMostly, recorder, native } = made;
  const guard = recorder ?? new NoRecorder(environment.loop);
  const requestOf = ({ identity, legs, recorded, log, eventNr }: SwapPlan): AssemblyRequest => {
    const { name, readOnly } = identity;
    const mirror: MirrorPlan = {
      readPolicy: readPolicyOf(identity.readPolicy),
      legTimeoutMs: (leg) => legTimeoutMs(identity.legTimeout ?? [], leg),
      recorder: guard,
      onEvent: (event) => onEvent(name, event),
      eventNr,
      start: (places, args: MirrorArgs, at) => {
        if (native !== null) return startOfPlan(native, places, guard, environment.log);
        const start =
          recorded === null
            ? newMirror(places, areEqual || args.sync === 'nosync', writeMostly)
            : mirrorOfRecord(places, recorded);
        const isRecorded = recorded !== null;
        return withDiskLog(start, at, { found: log, args, isRecorded, recorder });
      },
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
  const { workerTaker } = await import('../worker/taker.ts');
  const { identity, legs, recorded, log, areEqual, writeMostly, recorder, native } = made;
  const { name, readPolicy } = identity;
  const lower = [...legs.stacked.values()].map(({ below }) => below.place?.thread);
  const host = await WorkerHost.start({
    thread: made.thread ?? lower[0] ?? null,
    start: {
      name,
      readPolicy,
      legTimeout: identity.legTimeout ?? [],
      ...tableOf({ identity, legs, recorded, log, eventNr: 0 }),
      areEqual,
      writeMostly,
      isRecorded: recorder !== null,
      native,
    },
    tableOf,
    log: context.environment.log,
    recorder,
    onEvent: (event) => context.onEvent(name, event),
    onLeg: (message) => tellLeg(legs, message),
    onClosed: (id, why) => offer.closed(id, why),
    onDeath: (why) => {
      offer.died();
      context.onDeath(name, why);
    },
  });
  legs.handOver = (leg) => leg.handTo(workerTaker(leg.plan.id, host));
  for (const leg of remoteLegs(legs)) legs.handOver(leg);
  const offer = new WorkerOffer(name, host);
  return { exported: offer, runner: host, go: () => host.go() };
}

/** A table and its open legs, for the other thread. */
function tableOf({ identity, legs, recorded, log, eventNr }: SwapPlan): WorkerTable {
  return {
    table: identity.table.join('\n'),
    readOnly: identity.readOnly,
    legs: [...legs.devices.keys()].map((path) => legs.openLegOf(path)),
    lower: [...legs.stacked].map(([path, { below }]) => [path, below.place?.number ?? -1]),
    missing: [...legs.missing],
    recorded,
    log,
    eventNr,
  };
}

function remoteLegs({ devices }: OpenLegs): readonly RemoteLeg[] {
  return [...devices.values()].filter((device) => device instanceof RemoteLeg);
}

/** What the device's thread has to say about the connections of a leg. */
function tellLeg(legs: OpenLegs, message: FromWorkerLeg): void {
  const leg = remoteLegs(legs).find(({ plan }) => plan.id === message.id);
  // Closed meanwhile: its connections are closed with it.
  if (leg === undefined) return;
  if (message.kind === 'leg-connect') leg.connectAway(message.slot);
  else leg.fenceAway(message.slot, message.isOver);
}
