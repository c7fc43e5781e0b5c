// A link whose kernel says late what it has sent.
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { COMMAND } from '../../../core/nbd/proto.ts';
import { RemoteLink } from '../../../core/remote/link.ts';
import { RemoteWorld, Wire } from '../../support/remote-world.ts';

/** Gathers when it may, and hears of it later. */
class LateWire extends Wire {
  mayGather = false;

  override sendSoon(): void {
    if (this.mayGather) this.link.gather(this);
  }
}

describe('a link', () => {
  it('may be given an urgent request while it hears what was sent', () => {
    // FLUSH and no FUA: a write with FUA is followed by a FLUSH, which starts when the write's end is known.
    const world = new RemoteWorld({ transmissionFlags: 0x5 }, 1);
    world.wire().link.closed('for one that is late');
    world.fenced(0);
    const link = new RemoteLink(0, world.device, false);
    const wire = new LateWire(link, world.content);
    world.device.connected(link);
    while (world.device.isLooking(0)) {
      link.sent(link.gather(wire));
      world.show(wire);
    }
    const first = world.submit(REQ_OP.WRITE, 0, 1, REQ_FLAG.FUA | REQ_FLAG.SYNC);
    world.submit(REQ_OP.WRITE, 8, 1);
    const bytes = link.gather(wire);
    const [write, other] = wire.two();
    wire.answer(write);
    expect(first.errno).toBeUndefined();
    wire.mayGather = true;
    link.sent(bytes);
    expect(wire.requests().map(({ type }) => type)).toEqual([COMMAND.FLUSH]);
    expect([write.offset, other.offset]).toEqual([0, 4096]);
  });
});
