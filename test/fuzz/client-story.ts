// One story of the client's end: a handshake with a server of any kind, then bios to it, beside another.
import { Prng } from '../../core/base/prng.ts';
import { ClientHandshake, type ServerFacts } from '../../core/nbd/client-handshake.ts';
import { unfitness } from '../../core/remote/facts.ts';
import { createManualLoop } from '../support/manual-loop.ts';
import { damaged, randomBytes } from './damage.ts';
import { FarSide } from './far-side.ts';
import { expectThat, type Tally } from './finding.ts';
import { straightServer, wildServer, type Offered } from './server-bytes.ts';

/** Handshakes of a story: most end early. */
const HANDSHAKES = 6;
const HONEST: Offered = {
  sizeBytes: 2 ** 24,
  flags: 0x16d,
  isStructured: true,
  minimum: 1,
  isBeyond: false,
};

/** Plays the story of a seed. Throws what it finds. */
export function playClient(seed: number, tally: Tally): void {
  const prng = new Prng(seed);
  const loop = createManualLoop();
  const honest = negotiate(prng, tally, straightServer(prng, HONEST));
  expectThat(honest !== undefined, 'a server that keeps the rules was refused');
  const witness = new FarSide(loop, prng, tally, honest, true);
  const sides: FarSide[] = [];
  for (let i = prng.between(1, HANDSHAKES); i > 0; i -= 1) {
    const facts = negotiate(prng, tally, someServer(prng));
    if (facts === undefined) continue;
    expectThat(Number.isSafeInteger(facts.sizeBytes), `a size of ${facts.sizeBytes} was believed`);
    if (unfitness(facts, false) !== undefined || facts.sizeBytes < FarSide.LEAST_BYTES) continue;
    tally.count(`transmission, ${facts.isStructured ? 'structured' : 'simple'}`);
    sides.push(new FarSide(loop, prng, tally, facts, false));
  }
  for (let i = prng.between(50, 600); i > 0; i -= 1) prng.pick([witness, ...sides]).step();
  witness.expectServed();
  for (const side of [...sides, witness]) side.expectOver();
}

function someServer(prng: Prng): Uint8Array {
  const offered: Offered = {
    sizeBytes: prng.pick([2 ** 24, 2 ** 24, 2 ** 40]),
    flags: prng.ratio(2, 3) ? 0x16d : (prng.below(4096) & ~2) | 1,
    isStructured: prng.ratio(2, 3),
    minimum: prng.pick([1, 512, 4096, 65_536]),
    isBeyond: prng.ratio(1, 20),
  };
  if (prng.ratio(1, 20)) return randomBytes(prng, prng.between(1, 300));
  if (prng.ratio(2, 3)) return straightServer(prng, offered);
  const bytes = prng.ratio(1, 3) ? straightServer(prng, offered) : wildServer(prng, offered);
  return prng.ratio(1, 2) ? damaged(prng, bytes) : bytes;
}

function isOver({ state }: ClientHandshake): boolean {
  return state === 'TRANSMISSION' || state === 'CLOSED';
}

/** Undefined: it came to nothing. */
function negotiate(prng: Prng, tally: Tally, bytes: Uint8Array): ServerFacts | undefined {
  const handshake = new ClientHandshake('far', { write: () => undefined });
  tally.streams += 1;
  const most = prng.pick([1, 20, 500, 100_000]);
  for (let at = 0; at < bytes.length && !isOver(handshake);) {
    const end = Math.min(bytes.length, at + prng.between(1, most));
    const taken = handshake.consume(bytes, at, end);
    tally.bytes += taken;
    const state: string = handshake.state;
    expectThat(state === 'TRANSMISSION' || taken === end - at, `bytes were left in ${state}`);
    at = end;
  }
  if (handshake.state === 'CLOSED') {
    expectThat(handshake.failure !== '', 'a server was refused without a reason');
    tally.count(`refused: ${handshake.failure.replace(/".*|\d+.*/s, '...')}`);
  }
  return handshake.facts;
}
