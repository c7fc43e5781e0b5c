// The data path allocates nothing: bytes of heap per request, measured over many of them, through
// framer, validation, arena, range claim, device and reply.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { Arena } from '../../core/block/arena.ts';
import { Export } from '../../core/export/export.ts';
import { Session, type SessionStream } from '../../core/export/session.ts';
import { COMMAND } from '../../core/nbd/proto.ts';
import { createManualLoop, runUntilIdle } from '../support/manual-loop.ts';
import { request } from '../support/nbd-messages.ts';
import { NullDevice } from '../support/null-device.ts';

const DEPTH = 16;
const WARM_UP = 20_000;
const MEASURED = 20_000;
/**
 * A number above 2^31 that crosses a call that was not inlined is boxed in 16 bytes; whether there
 * is one such call depends on when the engine optimises what. The smallest object has more.
 */
const ONE_BOX = 20;
/** Offsets the engine keeps in a register, and offsets it must put into boxes of 16 bytes. */
const NEAR = 4096;
const FAR = 2 ** 40;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

class IdleStream implements SessionStream {
  repliesReady(): void {}
  intakeResumed(): void {}
  sessionEnded(): void {}
}

/** Heap bytes per request, for requests of one kind sent DEPTH at a time. */
function bytesPerRequest(type: number, offset: number, length: number, payload = 0): number {
  const loop = createManualLoop();
  const target = new Export({ name: 'idle', device: new NullDevice(loop) });
  const session = new Session(target, new Arena(new Uint8Array(2 ** 22), loop), new IdleStream());
  const message = request({ type, offset, length });
  const play = (count: number): void => {
    for (let i = 0; i < count; i += 1) {
      session.consume(message, 0, message.length);
      if (payload > 0) session.payloadReceived(payload);
      if (i % DEPTH !== DEPTH - 1) continue;
      runUntilIdle(loop);
      session.repliesSent(session.replies.length);
    }
  };
  play(WARM_UP);
  let least = Infinity;
  // The engine itself allocates now and then (it optimises): the least of some runs is the path's.
  for (let round = 0; round < 3; round += 1) {
    collect();
    const before = process.memoryUsage().heapUsed;
    play(MEASURED);
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / MEASURED);
  }
  return least;
}

describe('a request', () => {
  const kinds = [
    ['READ', COMMAND.READ, 4096, 0],
    ['WRITE', COMMAND.WRITE, 4096, 4096],
    ['FLUSH', COMMAND.FLUSH, 0, 0],
    ['TRIM', COMMAND.TRIM, 4096, 0],
    ['WRITE_ZEROES', COMMAND.WRITE_ZEROES, 4096, 0],
    ['unaligned WRITE', COMMAND.WRITE, 100, 100],
  ] as const;

  // In this order: once the engine has seen far offsets it boxes near ones too.
  it.each(kinds)('%s allocates no object', (_, type, length, payload) => {
    expect(bytesPerRequest(type, NEAR, length, payload)).toBeLessThan(ONE_BOX);
  });

  it.each(kinds)(
    '%s at 1 TiB allocates no object, but some boxed numbers',
    (_, type, length, payload) => {
      expect(bytesPerRequest(type, FAR, length, payload)).toBeLessThan(8 * ONE_BOX);
    },
  );
});
