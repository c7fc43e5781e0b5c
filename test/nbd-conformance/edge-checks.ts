// The edges of transmission, beside transmission-checks.ts: every one was got wrong by some server.
import {
  CHUNK,
  COMMAND,
  COMMAND_FLAG,
  INFO,
  nameIn,
  NBD_ERROR,
  TRANSMISSION_FLAG,
} from '../../core/nbd/proto.ts';
import { request, type RequestFields } from '../support/nbd-messages.ts';
import type { SeenReply } from '../support/reply-reader.ts';
import { must, should, type Check } from './check.ts';
import { Breach, Conversation, expectThat, inTransmission, NotOffered } from './client.ts';

const { READ, WRITE, DISC, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS } = COMMAND;
const { FUA, NO_HOLE, DF, FAST_ZERO } = COMMAND_FLAG;
const BLOCK = 65536;
const MIB = 2 ** 20;

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);
const isAll = (data: Uint8Array, byte: number): boolean => data.every((each) => each === byte);
const structured = (talk: Conversation): Promise<void> => talk.structured();
const withAllocation = async (talk: Conversation): Promise<void> => {
  await talk.structured();
  if ((await talk.contexts('base:allocation')).length === 0)
    throw new NotOffered('base:allocation');
};

const offers = (talk: Conversation, flag: keyof typeof TRANSMISSION_FLAG): boolean =>
  (talk.transmissionFlags & TRANSMISSION_FLAG[flag]) !== 0;

function has(talk: Conversation, flag: keyof typeof TRANSMISSION_FLAG): void {
  if (!offers(talk, flag)) throw new NotOffered(flag);
}

function answers(reply: SeenReply, error: keyof typeof NBD_ERROR): void {
  const said = nameIn(NBD_ERROR, reply.error);
  expectThat(reply.error === NBD_ERROR[error], `it says ${said}, not ${error}`);
}

/** It answers, whatever, and goes on. */
async function staysAfter(talk: Conversation, ...all: readonly RequestFields[]): Promise<void> {
  for (const fields of all) {
    const payload = fields.type === WRITE ? filled(fields.length ?? 0, 1) : undefined;
    await talk.ask(fields, payload);
  }
  answers(await talk.ask({ type: READ, length: 512 }), 'OK');
}

/** Commands without payload that the server offers. */
function effectsOf(talk: Conversation): number[] {
  const all = [
    [TRIM, 'SEND_TRIM'],
    [CACHE, 'SEND_CACHE'],
    [WRITE_ZEROES, 'SEND_WRITE_ZEROES'],
  ] as const;
  return all.flatMap(([type, flag]) => (offers(talk, flag) ? [type] : []));
}

/** An offset so far out that offset + length is past 2^64. */
function beyond(bytes: Uint8Array): void {
  bytes.fill(0xff, 16, 23);
  bytes[23] = 0;
}

export const EDGE_CHECKS: readonly Check[] = [
  must('Request message', 'takes requests split at every byte', async (place) => {
    const talk = await inTransmission(place, undefined, []);
    await talk.sendInPieces(
      request({ type: WRITE, cookie: 7, offset: BLOCK }, filled(64, 0x3c)).subarray(0, 90),
    );
    talk.send(filled(2, 0x3c));
    await talk.read(16);
    const { data } = await talk.ask({ type: READ, offset: BLOCK, length: 64 });
    expectThat(isAll(data, 0x3c), 'other bytes');
  }),
  must('NBD_CMD_DISC', 'closes at once when nothing is in flight', async (place) => {
    const talk = await inTransmission(place);
    talk.post({ type: DISC });
    expectThat(await talk.closes(), 'it stays open');
  }),
  must('Command flags', 'takes FUA on TRIM, WRITE_ZEROES and CACHE too', async (place) => {
    const talk = await inTransmission(place);
    has(talk, 'SEND_FUA');
    for (const type of effectsOf(talk)) {
      answers(await talk.ask({ type, flags: FUA, offset: 2 * BLOCK, length: BLOCK }), 'OK');
    }
  }),
  should('Command flags', 'EINVAL for DF without structured replies', async (place) => {
    const talk = await inTransmission(place);
    answers(await talk.ask({ type: READ, flags: DF, length: 512 }), 'EINVAL');
    answers(await talk.ask({ type: READ, length: 512 }), 'OK');
  }),
  must('NBD_CMD_FLAG_DF', 'answers 256 KiB in one chunk, or EOVERFLOW', async (place) => {
    const talk = await inTransmission(place, structured);
    has(talk, 'SEND_DF');
    answers(await talk.ask({ type: WRITE, offset: BLOCK }, filled(BLOCK, 2)), 'OK');
    const reply = await talk.ask({ type: READ, length: 4 * BLOCK, flags: DF });
    const content = reply.chunks.filter(({ type }) => type !== CHUNK.NONE);
    const isOne = reply.error === NBD_ERROR.OK && content.length === 1;
    expectThat(isOne || reply.error === NBD_ERROR.EOVERFLOW, `${content.length} chunks`);
  }),
  must('NBD_CMD_FLAG_FAST_ZERO', 'zeroes, or says ENOTSUP and changes nothing', async (place) => {
    const talk = await inTransmission(place);
    has(talk, 'SEND_FAST_ZERO');
    for (const [flags, length] of [
      [FAST_ZERO, BLOCK],
      [FAST_ZERO | NO_HOLE, BLOCK],
      [FAST_ZERO, 777],
    ] as const) {
      answers(await talk.ask({ type: WRITE, offset: BLOCK }, filled(BLOCK, 6)), 'OK');
      const { error } = await talk.ask({ type: WRITE_ZEROES, flags, offset: BLOCK, length });
      const { data } = await talk.ask({ type: READ, offset: BLOCK, length: BLOCK });
      const right = error === NBD_ERROR.OK ? 0 : 6;
      expectThat(isAll(data.subarray(0, length), right), `other bytes after ${error}`);
      expectThat(isAll(data.subarray(length), 6), 'bytes beside the range');
    }
  }),
  should('Size constraints', 'goes on after commands longer than any payload', async (place) => {
    const talk = await inTransmission(place);
    const types = effectsOf(talk);
    if (talk.sizeBytes < 64 * MIB || types.length === 0) throw new NotOffered('such a command');
    await staysAfter(talk, ...types.map((type) => ({ type, length: 64 * MIB })));
  }),
  should('Size constraints', 'goes on after a READ of 33 MiB', async (place) => {
    for (const prepare of [() => Promise.resolve(), structured]) {
      const talk = await inTransmission(place, prepare);
      if (talk.sizeBytes < 64 * MIB) throw new NotOffered('an export of 64 MiB');
      await staysAfter(talk, { type: READ, length: 33 * MIB });
    }
  }),
  must('Request message', 'refuses ranges that end past 2^64', async (place) => {
    const talk = await inTransmission(place);
    for (const type of [READ, ...effectsOf(talk)]) {
      const { error } = await talk.askAltered({ type, length: BLOCK }, beyond);
      expectThat(error !== NBD_ERROR.OK, 'it was accepted');
    }
    await staysAfter(talk);
  }),
  should('Request message', 'goes on after any command of no bytes', async (place) => {
    const talk = await inTransmission(place);
    await staysAfter(talk, ...effectsOf(talk).map((type) => ({ type, length: 0 })));
  }),
  must('Error values', 'says only errors that have a meaning', async (place) => {
    const talk = await inTransmission(place);
    const known: readonly number[] = Object.values(NBD_ERROR);
    const { sizeBytes } = talk;
    for (const fields of [
      { type: READ, offset: sizeBytes, length: 512 },
      { type: READ, length: 512, flags: 1 << 13 },
      { type: 77, length: 512 },
      { type: BLOCK_STATUS, length: 512 },
    ]) {
      const { error } = await talk.ask(fields);
      expectThat(error !== 0 && known.includes(error), `it says ${error}`);
    }
  }),
  must(
    'NBD_FLAG_CAN_MULTI_CONN',
    'shows on one connection what another wrote with FUA',
    async (place) => {
      const a = await inTransmission(place);
      const b = await inTransmission(place);
      has(a, 'CAN_MULTI_CONN');
      has(a, 'SEND_FUA');
      for (let i = 1; i < 32; i += 1) {
        answers(await a.ask({ type: WRITE, offset: BLOCK, flags: FUA }, filled(4096, i)), 'OK');
        const { data } = await b.ask({ type: READ, offset: BLOCK, length: 4096 });
        expectThat(isAll(data, i), 'old bytes');
      }
    },
  ),
  should('NBD_CMD_BLOCK_STATUS', 'EINVAL for BLOCK_STATUS past the end', async (place) => {
    const talk = await inTransmission(place, withAllocation);
    answers(await talk.ask({ type: BLOCK_STATUS, offset: talk.sizeBytes, length: 512 }), 'EINVAL');
    answers(await talk.ask({ type: READ, length: 512 }), 'OK');
  }),
  must('base:allocation', 'calls zero only what reads as zeros', async (place) => {
    const talk = await inTransmission(place, withAllocation);
    has(talk, 'SEND_WRITE_ZEROES');
    answers(await talk.ask({ type: WRITE, length: 4 * BLOCK }, filled(4 * BLOCK, 0xbb)), 'OK');
    answers(await talk.ask({ type: WRITE_ZEROES, offset: BLOCK, length: BLOCK }), 'OK');
    const reply = await talk.ask({ type: BLOCK_STATUS, length: 4 * BLOCK });
    let at = 0;
    for (const { length, flags } of [...reply.status.values()][0] ?? []) {
      const count = Math.min(length, 4 * BLOCK - at);
      if (count <= 0) break;
      expectThat((flags & ~3) === 0, `flags ${flags}`);
      const { data } = await talk.ask({ type: READ, offset: at, length: count });
      expectThat((flags & 2) === 0 || isAll(data, 0), `data at ${at} is called zero`);
      at += count;
    }
    expectThat(at > 0, 'no extents');
  }),
  should('NBD_REPLY_TYPE_BLOCK_STATUS', 'makes one extent of equal neighbours', async (place) => {
    const talk = await inTransmission(place, withAllocation);
    const length = Math.min(talk.sizeBytes, 64 * MIB);
    const reply = await talk.ask({ type: BLOCK_STATUS, length });
    const extents = [...reply.status.values()][0] ?? [];
    const isMerged = extents.every(({ flags }, i) => flags !== extents[i + 1]?.flags);
    expectThat(extents.length > 0 && isMerged, 'two that are alike');
  }),
  must('NBD_CMD_READ', 'serves others while one takes no replies', async (place) => {
    const slow = await inTransmission(place);
    slow.stopReading();
    for (let i = 0; i < 32; i += 1) slow.post({ type: READ, length: MIB });
    const talk = await inTransmission(place);
    for (let i = 0; i < 16; i += 1) await staysAfter(talk, { type: READ, length: BLOCK });
  }),
  should('NBD_INFO_BLOCK_SIZE', 'serves blocks of the smallest size it tells', async (place) => {
    const talk = await Conversation.greeted(place);
    const replies = await talk.go([INFO.BLOCK_SIZE]);
    const found = replies.find(({ data }) => data.length === 14 && data.readUInt16BE(0) === 3);
    if (found === undefined) throw new NotOffered('BLOCK_SIZE');
    const least = found.data.readUInt32BE(2);
    answers(await talk.ask({ type: WRITE, offset: 3 * least }, filled(least, 0x5d)), 'OK');
    const { data } = await talk.ask({ type: READ, offset: 3 * least, length: least });
    if (!isAll(data, 0x5d)) throw new Breach('other bytes');
  }),
];

/** The last: it ends nbdkit 1.32, whose assertion FAST_ZERO fails where it is not offered. */
export const DEADLY_CHECKS: readonly Check[] = [
  should('Command flags', 'goes on after every flag with every command', async (place) => {
    const talk = await inTransmission(place);
    const commands = [READ, WRITE, COMMAND.FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS, 8, 99];
    const all = commands.flatMap((type) =>
      Array.from({ length: 16 }, (_, bit) => {
        const length = type === COMMAND.FLUSH ? 0 : 512;
        return { type, flags: 1 << bit, length, offset: 2 * BLOCK };
      }),
    );
    await staysAfter(talk, ...all);
  }),
];
