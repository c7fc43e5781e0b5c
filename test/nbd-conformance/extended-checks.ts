// Extended headers, which the clients of Debian 12 do not speak yet: so they are spoken here.
import {
  CHUNK,
  COMMAND,
  COMMAND_FLAG,
  nameIn,
  NBD_ERROR,
  TRANSMISSION_FLAG,
} from '../../core/nbd/proto.ts';
import type { SeenReply } from '../support/reply-reader.ts';
import { must, should, type Check } from './check.ts';
import { type Conversation, expectThat, inTransmission, NotOffered, type Place } from './client.ts';

const { READ, WRITE, TRIM, WRITE_ZEROES, BLOCK_STATUS } = COMMAND;
const { PAYLOAD_LEN, REQ_ONE } = COMMAND_FLAG;
const BLOCK = 65536;

const open = (place: Place): Promise<Conversation> =>
  inTransmission(place, (talk) => talk.extended());

interface WithContexts {
  readonly talk: Conversation;
  readonly ids: readonly number[];
}

async function openWithContexts(place: Place): Promise<WithContexts> {
  let ids: readonly number[] = [];
  const talk = await inTransmission(place, async (each) => {
    await each.extended();
    ids = await each.contexts('base:allocation');
  });
  if (ids.length === 0) throw new NotOffered('base:allocation');
  return { talk, ids };
}

function answers(reply: SeenReply, error: keyof typeof NBD_ERROR): void {
  const said = nameIn(NBD_ERROR, reply.error);
  expectThat(reply.error === NBD_ERROR[error], `it says ${said}, not ${error}`);
}

async function stillServes(talk: Conversation): Promise<void> {
  answers(await talk.ask({ type: READ, length: 512 }), 'OK');
}

/** The payload of BLOCK_STATUS: how much is asked about, and which contexts. */
function question(effectBytes: number, ids: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(8 + 4 * ids.length);
  bytes.writeBigUInt64BE(BigInt(effectBytes), 0);
  ids.forEach((id, i) => bytes.writeUInt32BE(id, 8 + 4 * i));
  return new Uint8Array(bytes);
}

function offersPayload({ talk }: WithContexts): void {
  if ((talk.transmissionFlags & TRANSMISSION_FLAG.BLOCK_STATUS_PAYLOAD) === 0)
    throw new NotOffered('BLOCK_STATUS_PAYLOAD');
}

export const EXTENDED_CHECKS: readonly Check[] = [
  should('Extended headers', 'EINVAL for a WRITE without PAYLOAD_LEN', async (place) => {
    const talk = await open(place);
    answers(await talk.ask({ type: WRITE, length: 512 }), 'EINVAL');
    await stillServes(talk);
  }),
  should('Extended headers', 'reads the payload of what may have none, EINVAL', async (place) => {
    const talk = await open(place);
    const payload = new Uint8Array(1000).fill(0x25);
    answers(await talk.ask({ type: READ, flags: PAYLOAD_LEN }, payload), 'EINVAL');
    answers(await talk.ask({ type: TRIM, flags: PAYLOAD_LEN }, payload), 'EINVAL');
    await stillServes(talk);
  }),
  must('Extended headers', "copies the request's offset into errors too", async (place) => {
    const talk = await open(place);
    const offset = talk.sizeBytes;
    const reply = await talk.ask({ type: READ, offset, length: 512 });
    expectThat(reply.error !== NBD_ERROR.OK, 'success');
    expectThat(
      reply.chunks.every((chunk) => chunk.requestOffset === offset),
      'another offset',
    );
  }),
  must('Extended headers', 'hangs up on a request with the compact magic', async (place) => {
    const talk = await open(place);
    const bytes = Buffer.alloc(32);
    bytes.writeUInt32BE(0x25609513, 0);
    talk.send(bytes);
    expectThat(await talk.closes(), 'it stays open');
  }),
  should('Extended headers', 'goes on after a READ of 8 GiB', async (place) => {
    const talk = await open(place);
    const { error } = await talk.ask({ type: READ, length: 2 ** 33 });
    expectThat(error !== NBD_ERROR.OK, 'success');
    await stillServes(talk);
  }),
  must('Extended headers', 'survives a payload of 1 TiB that is announced', async (place) => {
    const talk = await open(place);
    talk.post({ type: WRITE, flags: PAYLOAD_LEN, length: 2 ** 40 });
    await stillServes(await open(place));
  }),
  must('Extended headers', 'trims the whole export in one request', async (place) => {
    const talk = await open(place);
    if ((talk.transmissionFlags & TRANSMISSION_FLAG.SEND_TRIM) === 0) throw new NotOffered('TRIM');
    answers(await talk.ask({ type: TRIM, length: talk.sizeBytes }), 'OK');
  }),
  must('NBD_REPLY_TYPE_BLOCK_STATUS_EXT', 'tells extents of 64 bits', async (place) => {
    const { talk, ids } = await openWithContexts(place);
    answers(await talk.ask({ type: WRITE_ZEROES, length: talk.sizeBytes }), 'OK');
    const reply = await talk.ask({ type: BLOCK_STATUS, length: talk.sizeBytes });
    answers(reply, 'OK');
    const isExt = reply.chunks.every(({ type }) => type === CHUNK.BLOCK_STATUS_EXT);
    expectThat(isExt, 'chunks of another type');
    expectThat((reply.status.get(ids[0] ?? 0)?.length ?? 0) > 0, 'no extents of the context');
  }),
  must('NBD_CMD_FLAG_REQ_ONE', 'gives one extent in extended replies too', async (place) => {
    const { talk, ids } = await openWithContexts(place);
    const reply = await talk.ask({ type: BLOCK_STATUS, length: BLOCK, flags: REQ_ONE });
    const extents = reply.status.get(ids[0] ?? 0) ?? [];
    expectThat(extents.length === 1 && (extents[0]?.length ?? 0) <= BLOCK, 'more, or longer');
  }),
  must('NBD_FLAG_BLOCK_STATUS_PAYLOAD', 'tells of the contexts that are named', async (place) => {
    const both = await openWithContexts(place);
    offersPayload(both);
    const { talk, ids } = both;
    const reply = await talk.ask(
      { type: BLOCK_STATUS, flags: PAYLOAD_LEN },
      question(BLOCK, ids.slice(0, 1)),
    );
    answers(reply, 'OK');
    expectThat(reply.status.size === 1 && reply.status.has(ids[0] ?? 0), 'others');
  }),
  must('NBD_FLAG_BLOCK_STATUS_PAYLOAD', 'EINVAL for ids nobody has, or twice', async (place) => {
    const both = await openWithContexts(place);
    offersPayload(both);
    const { talk, ids } = both;
    for (const wrong of [[77], [...ids, ...ids], []]) {
      const payload = question(BLOCK, wrong);
      const reply = await talk.ask({ type: BLOCK_STATUS, flags: PAYLOAD_LEN }, payload);
      answers(reply, 'EINVAL');
    }
    await stillServes(talk);
  }),
];
