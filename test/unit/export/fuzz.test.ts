// Any bytes at all: no exception, nothing left behind. A seed that ever fails stays in SEEDS.
import { ERRNO } from '../../../core/base/errno.ts';
import { Prng } from '../../../core/base/prng.ts';
import { ExportTable } from '../../../core/export/export-table.ts';
import { Handshake } from '../../../core/nbd/handshake.ts';
import { CLIENT_FLAG } from '../../../core/nbd/proto.ts';
import { concat } from '../../support/hex.ts';
import { clientFlags, infoData, option, request } from '../../support/nbd-messages.ts';
import { NOTHING_LEFT, SessionWorld } from '../../support/session-world.ts';

const SEEDS = [1, 2, 3, 4, 5, 6];
const ROUNDS = 150;

function randomBytes(prng: Prng, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => prng.below(256));
}

/** Flips, cuts and repeats: most of it still looks like the protocol. */
function damaged(prng: Prng, bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  for (let i = prng.below(4); i > 0 && copy.length > 0; i -= 1) {
    copy[prng.below(copy.length)] = prng.pick([0, 1, 0x7f, 0x80, 0xff, prng.below(256)]);
  }
  const end = prng.ratio(1, 5) ? prng.below(copy.length + 1) : copy.length;
  return copy.subarray(0, end);
}

function someRequests(prng: Prng): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let i = prng.between(1, 12); i > 0; i -= 1) {
    const type = prng.below(10);
    const length = prng.pick([0, 1, 511, 512, 5000, 65_536, 2 ** 20, 2 ** 25 + 1, 2 ** 32 - 1]);
    const payload = type === 1 ? randomBytes(prng, Math.min(length, 5000)) : new Uint8Array(0);
    const flags = prng.ratio(1, 3) ? prng.below(64) : 0;
    const offset = prng.pick([0, 1, 512, 4000, 2 ** 20 - 1, 2 ** 20, 2 ** 40]);
    parts.push(request({ type, cookie: i, flags, offset, length }, payload));
  }
  return concat(...parts);
}

/** In random pieces. */
function inPieces(prng: Prng, bytes: Uint8Array, give: (piece: Uint8Array) => void): void {
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + prng.between(1, 3000));
    give(bytes.subarray(at, end));
    at = end;
  }
}

describe('a session', () => {
  it.each(SEEDS)('survives what clients send, seed %d', (seed) => {
    const prng = new Prng(seed);
    const world = new SessionWorld({
      device: { prng: new Prng(seed), maxDelayTurns: 5 },
      arenaBytes: 2 ** 18,
    });
    world.device.fault = () => (prng.ratio(1, 10) ? prng.pick([ERRNO.EIO, ERRNO.EOPNOTSUPP]) : 0);
    for (let round = 0; round < ROUNDS; round += 1) {
      const clients = [world.client(), world.client()];
      for (const client of clients) {
        client.reading = prng.ratio(3, 4);
        const wild = prng.ratio(1, 10);
        const bytes = wild ? randomBytes(prng, 500) : damaged(prng, someRequests(prng));
        inPieces(prng, bytes, (piece) => {
          client.send(piece);
          if (prng.ratio(1, 2)) world.loop.run();
        });
      }
      if (prng.ratio(1, 2)) world.run();
      for (const { session } of clients) {
        if (prng.ratio(1, 3) && !session.isBlocked) session.endInput();
        session.abandon();
      }
      world.run();
      expect(world.leftovers()).toEqual(NOTHING_LEFT);
    }
  });
});

describe('a handshake', () => {
  it.each(SEEDS)('survives what clients send, seed %d', (seed) => {
    const prng = new Prng(seed);
    const world = new SessionWorld();
    const table = new ExportTable();
    table.add(world.target);
    const reached = new Set<string>();
    for (let round = 0; round < ROUNDS; round += 1) {
      const handshake = new Handshake(table, { write: () => undefined });
      const parts = [clientFlags(prng.pick([0, CLIENT_FLAG.FIXED_NEWSTYLE, 3]))];
      for (let i = prng.below(6); i > 0; i -= 1) {
        const data = prng.pick([infoData('disk', [0, 3]), infoData(''), randomBytes(prng, 20)]);
        parts.push(option(prng.below(13), prng.ratio(1, 4) ? '' : data));
      }
      const whole = concat(...parts);
      const bytes = prng.ratio(1, 2) ? damaged(prng, whole) : whole;
      inPieces(prng, bytes, (piece) => {
        const taken = handshake.consume(piece, 0, piece.length);
        if (handshake.state !== 'TRANSMISSION') expect(taken).toBe(piece.length);
      });
      reached.add(handshake.state);
    }
    for (const state of ['OPTION', 'TRANSMISSION', 'CLOSED']) expect(reached).toContain(state);
  });
});
