// Bugs in core/remote: what a lost connection, a late reply or a restarted server may do to a leg.
import { COMMAND } from '../../core/nbd/proto.ts';
import { RemoteDevice } from '../../core/remote/device.ts';
import type { RemoteLink } from '../../core/remote/link.ts';
import { RemoteRequest } from '../../core/remote/request.ts';
import { Witness } from '../../core/remote/witness.ts';
import { drawRemoteOptions } from './options.ts';
import { always, nothing, replace, type Mutant } from './plant.ts';
import { runSeed, type SimResult } from './run.ts';

const play = (seed: number): SimResult => runSeed(drawRemoteOptions(seed));

/** What the bugs reach into. */
interface Insides {
  readonly acknowledged: number;
  readonly queue: { push(request: RemoteRequest): void };
  readonly options: { readonly host: { fence(link: RemoteLink): void } };
  end(request: RemoteRequest, errno: number): void;
  pump(): void;
}

export const REMOTE_MUTANTS: readonly Mutant[] = [
  {
    bug: 'believe a server whatever it holds (`--remote --swaps`)',
    play: (seed: number): SimResult => runSeed(drawRemoteOptions(seed, true)),
    plant: () => replace(Witness.prototype, 'matches', always(true)),
  },
  {
    bug: 'send again before the lost connection is fenced (`--remote`, as are the next)',
    play,
    plant: () =>
      replace(
        RemoteDevice.prototype,
        'linkReleased',
        (original) =>
          function (this: RemoteDevice, link: RemoteLink) {
            const device = this as unknown as Insides;
            if (this.isDead) {
              original.call(this as never, link as never);
              return;
            }
            for (let one = link.takeBack(); one !== null; one = link.takeBack()) {
              device.queue.push(one);
            }
            device.options.host.fence(link);
            device.pump();
          },
      ),
  },
  {
    bug: 'forget that a server may have lost what it acknowledged',
    play,
    plant: () => replace(RemoteDevice.prototype, 'isCached', always(false)),
  },
  {
    bug: 'a flush covers what was answered after it was sent',
    play,
    plant: () => {
      // What is read on a new connection finds the server out that lost what was taken for flushed.
      replace(Witness.prototype, 'matches', always(true));
      replace(
        RemoteDevice.prototype,
        'requestEnded',
        (original) =>
          function (this: RemoteDevice, link: RemoteLink, request: RemoteRequest, errno: number) {
            if (request.type === COMMAND.FLUSH) {
              request.mark = (this as unknown as Insides).acknowledged;
            }
            return original.call(this as never, link as never, request as never, errno as never);
          },
      );
    },
  },
  {
    bug: 'never give up a request without an answer',
    play,
    plant: () => replace(RemoteDevice.prototype, 'armTick', nothing),
  },
  {
    bug: 'a request without an answer is done',
    play,
    plant: () =>
      replace(
        RemoteDevice.prototype,
        'endUnanswered',
        () =>
          function (this: RemoteDevice, request: RemoteRequest) {
            (this as unknown as Insides).end(request, 0);
          },
      ),
  },
  {
    bug: 'forget FUA where the server has none',
    play,
    plant: () =>
      replace(
        RemoteRequest.prototype,
        'prepare',
        (original) =>
          function (this: RemoteRequest, hasFua: boolean, canZero: boolean) {
            original.call(this as never, hasFua as never, canZero as never);
            this.needsFlush = false;
          },
      ),
  },
];
