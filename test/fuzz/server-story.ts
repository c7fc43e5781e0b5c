// One story of the server's end: some clients that talk nonsense, some that do not, and a witness.
import { Prng } from '../../core/base/prng.ts';
import { COMMAND } from '../../core/nbd/proto.ts';
import { runUntilIdle } from '../support/manual-loop.ts';
import { request } from '../support/nbd-messages.ts';
import { SessionClient } from '../support/session-client.ts';
import { expectThat, type Tally } from './finding.ts';
import { FuzzClient } from './server-client.ts';
import { ServerWorld } from './server-world.ts';

/** Plays the story of a seed. Throws what it finds. */
export function playServer(seed: number, tally: Tally): void {
  const prng = new Prng(seed);
  const world = new ServerWorld(prng);
  const witness = new Witness(world, prng);
  const clients = Array.from(
    { length: prng.between(1, 6) },
    () => new FuzzClient(world, prng, tally),
  );
  const shutsDown = prng.ratio(1, 25);
  let busy = [...clients];
  while (busy.length > 0) {
    const one = prng.pick(busy);
    if (!one.step()) busy = busy.filter((each) => each !== one);
    if (prng.ratio(1, 2)) world.loop.run();
    if (prng.ratio(1, 10)) witness.ask();
    if (shutsDown && prng.ratio(1, 60)) world.shutDown();
  }
  if (prng.ratio(1, 2)) runUntilIdle(world.loop);
  // Who stands in the way is dropped in the end, as the server does with its time-outs.
  for (const one of clients) if (!one.isStraight) one.leave();
  runUntilIdle(world.loop);
  witness.expectServed();
  for (const one of clients) one.expectServed();
  for (const one of clients) one.leave();
  witness.leave();
  runUntilIdle(world.loop);
  world.expectNothingLeft();
}

const BLOCK = 512;

/** Somebody else on the same server, with a disk of its own: what it wrote is what it reads. */
class Witness {
  private readonly client: SessionClient;
  private readonly prng: Prng;
  private readonly model = new Map<number, number>();
  private readonly expected = new Map<number, number>();
  private cookie = 0;
  private answered = 0;

  constructor({ witness, arena }: ServerWorld, prng: Prng) {
    this.client = new SessionClient(witness, arena);
    this.prng = prng;
  }

  /** A write, and a read of it when that is answered: both wait for nobody else. */
  ask(): void {
    if (this.client.replies.length < this.cookie) return;
    const { prng } = this;
    const place = prng.below(60);
    this.cookie += 1;
    const known = this.model.get(place);
    const [cookie, offset] = [this.cookie, place * BLOCK];
    if (known === undefined || prng.ratio(1, 2)) {
      const byte = prng.between(1, 255);
      this.model.set(place, byte);
      this.client.send(
        request({ type: COMMAND.WRITE, cookie, offset }, new Uint8Array(BLOCK).fill(byte)),
      );
    } else {
      this.expected.set(cookie, known);
      this.client.send(request({ type: COMMAND.READ, cookie, offset, length: BLOCK }));
    }
  }

  expectServed(): void {
    const { replies, ended } = this.client;
    expectThat(ended === undefined, `the witness was dropped: ${ended ?? ''}`);
    expectThat(replies.length === this.cookie, 'the witness waits for an answer');
    for (const { cookie, error, data } of replies.slice(this.answered)) {
      expectThat(error === 0, `the witness got error ${error}`);
      const byte = this.expected.get(cookie);
      const isRight = byte === undefined || data.every((each) => each === byte);
      expectThat(isRight, 'the witness read other bytes than it had written');
    }
    this.answered = replies.length;
  }

  leave(): void {
    this.client.session.abandon();
  }
}
