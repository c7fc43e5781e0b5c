/** Brings a device to life where its engine lives: in this thread, or in one of its own. */
import type { MirrorArgs } from '../../core/dm/target-mirror.ts';
import type { Offer } from '../../core/export/offer.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { DeviceIdentity, DeviceRecorder } from '../device-record.ts';
import { assemble, type MirrorPlan } from './assemble.ts';
import type { BuildContext } from './build.ts';
import type { OpenLegs } from './legs.ts';
import { readPolicyOf } from './request.ts';
import { LocalRunner, type Runner } from './runner.ts';
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
}

export interface Running {
  readonly exported: Offer;
  readonly runner: Runner;
  /** Clients may come: a mirror records who is in sync, and begins to heal. */
  go(): void;
}

/** @throws ControlError */
export function runHere(made: Made, { environment, onEvent }: BuildContext): Running {
  const { identity, legs, recorded, areEqual, writeMostly, recorder } = made;
  const { name, readOnly } = identity;
  const plan: MirrorPlan = {
    readPolicy: readPolicyOf(identity.readPolicy),
    recorder: recorder ?? new NoRecorder(environment.loop),
    onEvent: (event) => onEvent(name, event),
    start: (places, args: MirrorArgs) =>
      recorded === null
        ? newMirror(places, areEqual || args.sync === 'nosync', writeMostly)
        : mirrorOfRecord(places, recorded),
  };
  const table = identity.table.join('\n');
  const parts = assemble({ name, table, legs, readOnly, mirror: plan }, environment);
  const runner = new LocalRunner(parts);
  return { exported: parts.exported, runner, go: () => parts.mirror?.start() };
}

/** @throws ControlError */
export async function runInWorker(made: Made, context: BuildContext): Promise<Running> {
  const { WorkerHost } = await import('../worker/host.ts');
  const { WorkerOffer } = await import('../worker/offer.ts');
  const { identity, legs, recorded, areEqual, writeMostly, recorder } = made;
  const { name, readOnly, readPolicy } = identity;
  const host = await WorkerHost.start({
    start: {
      name,
      table: identity.table.join('\n'),
      readOnly,
      readPolicy,
      legs: [...legs.devices].map(([path, { fd, sectors, limits }]) => {
        return { path, fd, sectors, limits };
      }),
      missing: [...legs.missing],
      recorded,
      areEqual,
      writeMostly,
      isRecorded: recorder !== null,
    },
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
