// What proto.md asks of a server in transmission. The export is written to.
import {
  CHUNK,
  COMMAND,
  COMMAND_FLAG,
  INFO,
  nameIn,
  NBD_ERROR,
  TRANSMISSION_FLAG,
} from '../../core/nbd/proto.ts';
import type { SeenReply } from '../support/reply-reader.ts';
import { must, should, type Check } from './check.ts';
import { Conversation, expectThat, inTransmission, NotOffered, type Place } from './client.ts';

const { READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS } = COMMAND;
const { FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN } = COMMAND_FLAG;
const BLOCK = 65536;

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);
const structured = (talk: Conversation): Promise<void> => talk.structured();
const withAllocation = async (talk: Conversation): Promise<void> => {
  await talk.structured();
  const ids = await talk.contexts('base:allocation');
  if (ids.length === 0) throw new NotOffered('base:allocation');
};

function has(talk: Conversation, flag: keyof typeof TRANSMISSION_FLAG): void {
  if ((talk.transmissionFlags & TRANSMISSION_FLAG[flag]) === 0) throw new NotOffered(flag);
}

function answers(reply: SeenReply, error: keyof typeof NBD_ERROR): void {
  const said = nameIn(NBD_ERROR, reply.error);
  expectThat(reply.error === NBD_ERROR[error], `it says ${said}, not ${error}`);
}

async function stillServes(talk: Conversation): Promise<void> {
  answers(await talk.ask({ type: READ, length: 512 }), 'OK');
}

/** Answers `error` to a request, and goes on. */
function refuses(
  error: keyof typeof NBD_ERROR,
  make: (size: number) => Parameters<Conversation['ask']>[0],
  payload?: Uint8Array,
  flag?: keyof typeof TRANSMISSION_FLAG,
) {
  return async (place: Place): Promise<void> => {
    const talk = await inTransmission(place);
    if (flag !== undefined) has(talk, flag);
    answers(await talk.ask(make(talk.sizeBytes), payload), error);
    await stillServes(talk);
  };
}

export const TRANSMISSION_CHECKS: readonly Check[] = [
  must('NBD_CMD_READ, NBD_CMD_WRITE', 'reads back what was written', async (place) => {
    const talk = await inTransmission(place);
    answers(await talk.ask({ type: WRITE, offset: BLOCK }, filled(BLOCK, 0xa5)), 'OK');
    const { data } = await talk.ask({ type: READ, offset: BLOCK, length: BLOCK });
    expectThat(Buffer.from(data).equals(filled(BLOCK, 0xa5)), 'other bytes');
  }),
  must('Request message', 'echoes cookies of many requests in flight', async (place) => {
    const talk = await inTransmission(place);
    const all = Array.from(
      { length: 64 },
      (_, i) => [{ type: READ, offset: i * 512, length: 512 }] as const,
    );
    for (const reply of await talk.askAll(all)) answers(reply, 'OK');
  }),
  must('NBD_CMD_DISC', 'answers what is in flight, then closes', async (place) => {
    const talk = await inTransmission(place);
    const pending = talk.askAll([
      [{ type: READ, length: BLOCK }],
      [{ type: READ, offset: 512, length: 512 }],
    ]);
    talk.post({ type: DISC });
    for (const reply of await pending) answers(reply, 'OK');
    expectThat(await talk.closes(), 'it stays open');
  }),
  should('NBD_CMD_FLUSH', 'flushes', async (place) => {
    const talk = await inTransmission(place);
    has(talk, 'SEND_FLUSH');
    answers(await talk.ask({ type: FLUSH }), 'OK');
  }),
  must('Command flags', 'takes FUA on every command when it sends SEND_FUA', async (place) => {
    const talk = await inTransmission(place);
    has(talk, 'SEND_FUA');
    answers(await talk.ask({ type: WRITE, flags: FUA }, filled(512, 1)), 'OK');
    answers(await talk.ask({ type: READ, flags: FUA, length: 512 }), 'OK');
    if ((talk.transmissionFlags & TRANSMISSION_FLAG.SEND_FLUSH) === 0) return;
    answers(await talk.ask({ type: FLUSH, flags: FUA }), 'OK');
  }),
  must('NBD_CMD_WRITE_ZEROES', 'zeroes, with and without NO_HOLE', async (place) => {
    const talk = await inTransmission(place);
    has(talk, 'SEND_WRITE_ZEROES');
    for (const flags of [0, NO_HOLE]) {
      answers(await talk.ask({ type: WRITE }, filled(BLOCK, 7)), 'OK');
      answers(await talk.ask({ type: WRITE_ZEROES, flags, length: BLOCK }), 'OK');
      const { data } = await talk.ask({ type: READ, length: BLOCK });
      expectThat(
        data.every((byte) => byte === 0),
        'it is not zero',
      );
    }
  }),
  must(
    'NBD_CMD_WRITE_ZEROES',
    'never says ENOTSUP without FAST_ZERO, only EINVAL or success with',
    async (place) => {
      const talk = await inTransmission(place);
      has(talk, 'SEND_FAST_ZERO');
      const { error } = await talk.ask({ type: WRITE_ZEROES, flags: FAST_ZERO, length: BLOCK });
      expectThat(error === 0 || error === NBD_ERROR.ENOTSUP, nameIn(NBD_ERROR, error));
      answers(await talk.ask({ type: WRITE_ZEROES, length: BLOCK }), 'OK');
    },
  ),
  should('NBD_CMD_TRIM', 'trims', async (place) => {
    const talk = await inTransmission(place);
    has(talk, 'SEND_TRIM');
    answers(await talk.ask({ type: TRIM, offset: BLOCK, length: BLOCK }), 'OK');
  }),
  must('NBD_CMD_CACHE', 'refuses unknown flags on CACHE', async (place) => {
    const talk = await inTransmission(place);
    has(talk, 'SEND_CACHE');
    answers(await talk.ask({ type: CACHE, length: 512 }), 'OK');
    answers(await talk.ask({ type: CACHE, length: 512, flags: 1 << 12 }), 'EINVAL');
  }),
  should(
    'Error values',
    'ENOSPC for a WRITE past the end',
    refuses('ENOSPC', (size) => ({ type: WRITE, offset: size }), filled(512, 1)),
  ),
  should(
    'Error values',
    'EINVAL for a READ past the end',
    refuses('EINVAL', (size) => ({ type: READ, offset: size - 512, length: 1024 })),
  ),
  should(
    'Error values',
    'ENOSPC for a WRITE_ZEROES past the end',
    refuses(
      'ENOSPC',
      (size) => ({ type: WRITE_ZEROES, offset: size, length: 512 }),
      undefined,
      'SEND_WRITE_ZEROES',
    ),
  ),
  should(
    'Error values',
    'EINVAL for a TRIM past the end',
    refuses(
      'EINVAL',
      (size) => ({ type: TRIM, offset: size, length: 512 }),
      undefined,
      'SEND_TRIM',
    ),
  ),
  should(
    'Request types',
    'EINVAL for an unknown command, and stays',
    refuses('EINVAL', () => ({ type: 99 })),
  ),
  should(
    'Command flags',
    'EINVAL for an unknown flag',
    refuses('EINVAL', () => ({ type: READ, length: 512, flags: 1 << 12 })),
  ),
  should(
    'Command flags',
    'EINVAL for NO_HOLE on READ',
    refuses('EINVAL', () => ({ type: READ, length: 512, flags: NO_HOLE })),
  ),
  should(
    'NBD_CMD_BLOCK_STATUS',
    'EINVAL for BLOCK_STATUS without a context',
    refuses('EINVAL', () => ({ type: BLOCK_STATUS, length: 512 })),
  ),
  should('Request message', 'stays connected after a request of no bytes', async (place) => {
    const talk = await inTransmission(place);
    await talk.ask({ type: READ, length: 0 });
    await talk.ask({ type: WRITE, length: 0 });
    await stillServes(talk);
  }),
  should('Size constraints', 'serves single bytes to who negotiated nothing', async (place) => {
    const talk = await inTransmission(place, undefined, []);
    answers(await talk.ask({ type: WRITE, offset: 1001 }, filled(3, 9)), 'OK');
    const { data } = await talk.ask({ type: READ, offset: 1000, length: 5 });
    expectThat(Buffer.from(data).subarray(1, 4).equals(filled(3, 9)), 'other bytes');
  }),
  must('Size constraints', 'serves 32 MiB to who negotiated nothing', async (place) => {
    const talk = await inTransmission(place, undefined, []);
    if (talk.sizeBytes < 2 ** 25) throw new NotOffered('an export of 32 MiB');
    answers(await talk.ask({ type: WRITE }, filled(2 ** 25, 5)), 'OK');
    answers(await talk.ask({ type: READ, length: 2 ** 25 }), 'OK');
  }),
  must(
    'Size constraints',
    'survives a WRITE of 33 MiB: an error, or the end, and nothing else',
    async (place) => {
      const talk = await inTransmission(place);
      if (talk.sizeBytes < 2 ** 26) throw new NotOffered('an export of 64 MiB');
      await talk.ask({ type: WRITE }, filled(33 * 2 ** 20, 5)).catch(() => undefined);
      await stillServes(await inTransmission(place));
    },
  ),
  must('Request message', 'drops a client whose request has another magic', async (place) => {
    const talk = await inTransmission(place);
    talk.send(filled(28, 0x55));
    expectThat(await talk.closes(), 'it stays open');
  }),
  must(
    'NBD_FLAG_CAN_MULTI_CONN',
    'shows on one connection what was written and flushed on another',
    async (place) => {
      const [a, b, c] = (await Promise.all([1, 2, 3].map(() => inTransmission(place)))) as [
        Conversation,
        Conversation,
        Conversation,
      ];
      has(a, 'CAN_MULTI_CONN');
      for (let i = 1; i < 32; i += 1) {
        answers(await a.ask({ type: WRITE, offset: 3 * BLOCK }, filled(4096, i)), 'OK');
        if ((a.transmissionFlags & TRANSMISSION_FLAG.SEND_FLUSH) !== 0)
          await b.ask({ type: FLUSH });
        const { data } = await c.ask({ type: READ, offset: 3 * BLOCK, length: 4096 });
        expectThat(
          data.every((byte) => byte === i),
          'old bytes',
        );
      }
    },
  ),
  must('Structured replies', 'answers READ in chunks that cover it once', async (place) => {
    const talk = await inTransmission(place, structured);
    await talk.ask({ type: WRITE, offset: BLOCK }, filled(BLOCK, 3));
    const reply = await talk.ask({ type: READ, offset: 512, length: 2 * BLOCK });
    answers(reply, 'OK');
    expectThat(reply.chunks.length > 0, 'a simple reply');
    expectThat(reply.data.length === 2 * BLOCK, `${reply.data.length} bytes`);
    expectThat(reply.chunks.at(-1)?.isDone === true, 'no DONE');
  }),
  must('Structured replies', 'answers DF of 64 KiB in one chunk', async (place) => {
    const talk = await inTransmission(place, structured);
    has(talk, 'SEND_DF');
    const reply = await talk.ask({ type: READ, length: BLOCK, flags: DF });
    answers(reply, 'OK');
    const content = reply.chunks.filter(({ type }) => type !== CHUNK.NONE);
    expectThat(content.length === 1, `${content.length} chunks`);
  }),
  must(
    'Structured replies',
    'answers a failed READ with an error chunk, also for bad flags',
    async (place) => {
      const talk = await inTransmission(place, structured);
      const past = await talk.ask({ type: READ, offset: talk.sizeBytes, length: 512 });
      const flag = await talk.ask({ type: READ, length: 512, flags: 1 << 12 });
      for (const reply of [past, flag]) {
        expectThat(reply.chunks.length > 0, 'a simple reply');
        expectThat(reply.error !== 0, 'success');
      }
    },
  ),
  should('NBD_REPLY_TYPE_ERROR', 'says in words what is wrong', async (place) => {
    const talk = await inTransmission(place, structured);
    const { text } = await talk.ask({ type: READ, offset: talk.sizeBytes, length: 512 });
    expectThat(text !== '', 'no text');
  }),
  must(
    'NBD_REPLY_TYPE_BLOCK_STATUS',
    'covers the range from its offset on, with whole extents',
    async (place) => {
      const talk = await inTransmission(place, withAllocation);
      const reply = await talk.ask({ type: BLOCK_STATUS, offset: BLOCK, length: 4 * BLOCK });
      answers(reply, 'OK');
      const extents = [...reply.status.values()];
      expectThat(extents.length === 1, `${extents.length} contexts`);
      const [first = []] = extents;
      expectThat(first.length > 0 && first.every(({ length }) => length > 0), 'an empty extent');
      const before = first.slice(0, -1).reduce((sum, { length }) => sum + length, 0);
      expectThat(before < 4 * BLOCK, 'extents begin past the end of the range');
    },
  ),
  must('NBD_CMD_FLAG_REQ_ONE', 'gives exactly one extent, not longer than asked', async (place) => {
    const talk = await inTransmission(place, withAllocation);
    const reply = await talk.ask({ type: BLOCK_STATUS, length: BLOCK, flags: REQ_ONE });
    const [first = []] = [...reply.status.values()];
    expectThat(first.length === 1 && (first[0]?.length ?? 0) <= BLOCK, 'more, or longer');
  }),
  must('base:allocation', 'never calls data a hole or zero', async (place) => {
    const talk = await inTransmission(place, withAllocation);
    answers(await talk.ask({ type: WRITE, offset: 4 * BLOCK }, filled(BLOCK, 0xee)), 'OK');
    const reply = await talk.ask({
      type: BLOCK_STATUS,
      offset: 4 * BLOCK,
      length: BLOCK,
      flags: REQ_ONE,
    });
    const [first = []] = [...reply.status.values()];
    expectThat(first[0]?.flags === 0, `flags ${String(first[0]?.flags)}`);
  }),
  must('Extended headers', 'answers everything in extended chunks', async (place) => {
    const talk = await inTransmission(place, (each) => each.extended());
    answers(
      await talk.ask({ type: WRITE, offset: BLOCK, flags: PAYLOAD_LEN }, filled(512, 4)),
      'OK',
    );
    const reply = await talk.ask({ type: READ, offset: BLOCK, length: 512 });
    expectThat(
      reply.chunks.every(({ requestOffset }) => requestOffset === BLOCK),
      'another offset',
    );
    expectThat(
      reply.data.every((byte) => byte === 4),
      'other bytes',
    );
  }),
  must('Extended headers', 'zeroes the whole export in one request', async (place) => {
    const talk = await inTransmission(place, (each) => each.extended());
    has(talk, 'SEND_WRITE_ZEROES');
    answers(await talk.ask({ type: WRITE_ZEROES, length: talk.sizeBytes }), 'OK');
  }),
  should(
    'NBD_INFO_EXPORT',
    'offers a size that is a multiple of its smallest block',
    async (place) => {
      const talk = await inTransmission(place, undefined, []);
      const least = (await smallestBlock(place)) ?? 1;
      expectThat(talk.sizeBytes % least === 0, `${talk.sizeBytes} of ${least}`);
    },
  ),
];

/** The smallest block of INFO_BLOCK_SIZE; undefined: none is offered. */
async function smallestBlock(place: Place): Promise<number | undefined> {
  const talk = await Conversation.greeted(place);
  const replies = await talk.go([INFO.BLOCK_SIZE]);
  const found = replies.find(({ data }) => data.length === 14 && data.readUInt16BE(0) === 3);
  return found?.data.readUInt32BE(2);
}
