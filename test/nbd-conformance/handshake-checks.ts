// What proto.md asks of a server before transmission.
import { CLIENT_FLAG, INFO, nameIn, OPTION, REPLY, SIZE } from '../../core/nbd/proto.ts';
import { TRANSMISSION_FLAG } from '../../core/nbd/proto.ts';
import { clientFlags, contextData, infoData, option } from '../support/nbd-messages.ts';
import { must, should, type Check } from './check.ts';
import {
  Breach,
  Conversation,
  expectThat,
  inTransmission,
  NotOffered,
  type Place,
} from './client.ts';

const { FIXED_NEWSTYLE, NO_ZEROES } = CLIENT_FLAG;
const isError = (type: number): boolean => type >= REPLY.ERR_UNSUP;

async function greeted(place: Place): Promise<Conversation> {
  return Conversation.greeted(place, FIXED_NEWSTYLE | NO_ZEROES);
}

/** It still answers. */
async function stillTalks(talk: Conversation): Promise<void> {
  const type = await talk.answer(OPTION.INFO, infoData(talk.place.exportName));
  expectThat(type === REPLY.ACK, 'INFO fails afterwards');
}

/** INFO_EXPORT of INFO or GO, as hex; undefined: there was none. */
function exportInfo(replies: readonly { readonly data: Buffer }[]): string | undefined {
  return replies
    .map(({ data }) => data)
    .find((d) => d.length === 12 && d.readUInt16BE(0) === INFO.EXPORT)
    ?.toString('hex');
}

export const HANDSHAKE_CHECKS: readonly Check[] = [
  must('Newstyle negotiation', 'greets with both magics and FIXED_NEWSTYLE', async (place) => {
    const talk = await Conversation.open(place);
    const flags = await talk.greeting();
    expectThat(flags !== undefined, 'no newstyle greeting');
    expectThat(((flags ?? 0) & 1) === 1, 'FIXED_NEWSTYLE is not set');
    expectThat(((flags ?? 0) & ~3) === 0, 'unknown handshake flags');
  }),
  must('Client flags', 'drops a client with an unknown flag', async (place) => {
    const talk = await Conversation.greeted(place, 1 | (1 << 7));
    talk.send(option(OPTION.LIST));
    expectThat(await talk.closes(), 'it goes on');
  }),
  must('NBD_OPT_EXPORT_NAME', 'answers size, flags and 124 zeroes', async (place) => {
    const talk = await Conversation.greeted(place, FIXED_NEWSTYLE);
    talk.send(option(OPTION.EXPORT_NAME, place.exportName));
    const bytes = await talk.read(SIZE.EXPORT_NAME_REPLY + SIZE.EXPORT_NAME_ZEROES);
    expectThat(
      bytes.subarray(10).every((byte) => byte === 0),
      'the zeroes are none',
    );
    expectThat((bytes.readUInt16BE(8) & TRANSMISSION_FLAG.HAS_FLAGS) === 1, 'HAS_FLAGS is not set');
  }),
  must('NBD_OPT_EXPORT_NAME', 'serves a client that knows no flags at all', async (place) => {
    const talk = await Conversation.greeted(place, 0);
    talk.send(option(OPTION.EXPORT_NAME, place.exportName));
    await talk.read(SIZE.EXPORT_NAME_REPLY + SIZE.EXPORT_NAME_ZEROES);
  }),
  must('NBD_OPT_ABORT', 'acknowledges ABORT', async (place) => {
    const talk = await greeted(place);
    expectThat((await talk.answer(OPTION.ABORT)) === REPLY.ACK, 'no ACK');
  }),
  must('NBD_OPT_ABORT', 'acknowledges ABORT whatever data it has', async (place) => {
    const talk = await greeted(place);
    expectThat((await talk.answer(OPTION.ABORT, 'why not')) === REPLY.ACK, 'no ACK');
  }),
  must('Option types', 'answers ERR_UNSUP to an unknown option, and goes on', async (place) => {
    const talk = await greeted(place);
    expectThat((await talk.answer(0x1234, 'data')) === REPLY.ERR_UNSUP, 'another answer');
    await stillTalks(talk);
  }),
  must('Option types', 'skips a mebibyte of data of an unknown option', async (place) => {
    const talk = await greeted(place);
    expectThat(isError(await talk.answer(0x1234, new Uint8Array(2 ** 20))), 'no error');
    await stillTalks(talk);
  }),
  must('NBD_OPT_LIST', 'lists exports and then says ACK, or an error', async (place) => {
    const talk = await greeted(place);
    const replies = await talk.option(OPTION.LIST);
    for (const { data } of replies.slice(0, -1)) {
      expectThat(data.length >= 4 && data.readUInt32BE(0) <= data.length - 4, 'a bad SERVER reply');
    }
    const last = replies.at(-1)?.type ?? 0;
    expectThat(last === REPLY.ACK || isError(last), 'neither ACK nor an error');
  }),
  should('NBD_OPT_LIST', 'answers ERR_INVALID to LIST with data', async (place) => {
    const talk = await greeted(place);
    const type = await talk.answer(OPTION.LIST, 'data');
    expectThat(type === REPLY.ERR_INVALID, `it says ${nameIn(REPLY, type)}`);
    await stillTalks(talk);
  }),
  must('NBD_OPT_INFO', 'answers INFO with INFO_EXPORT before ACK', async (place) => {
    const talk = await greeted(place);
    const replies = await talk.option(OPTION.INFO, infoData(place.exportName));
    expectThat(replies.at(-1)?.type === REPLY.ACK, 'no ACK');
    expectThat(exportInfo(replies) !== undefined, 'no INFO_EXPORT');
  }),
  must('NBD_OPT_GO', 'says the same in GO as in INFO just before', async (place) => {
    const talk = await greeted(place);
    const data = infoData(place.exportName, [INFO.BLOCK_SIZE]);
    const info = await talk.option(OPTION.INFO, data);
    const go = await talk.option(OPTION.GO, data);
    expectThat(exportInfo(info) === exportInfo(go), 'size or flags differ');
  }),
  must('NBD_OPT_INFO', 'ignores information it does not know', async (place) => {
    const talk = await greeted(place);
    const type = await talk.answer(OPTION.INFO, infoData(place.exportName, [0x7777, 3]));
    expectThat(type === REPLY.ACK, 'no ACK');
  }),
  must('NBD_OPT_INFO', 'answers an error to INFO whose lengths do not add up', async (place) => {
    const talk = await greeted(place);
    const data = infoData(place.exportName);
    new DataView(data.buffer).setUint32(0, 0xffff);
    expectThat(isError(await talk.answer(OPTION.INFO, data)), 'no error');
    await stillTalks(talk);
  }),
  should('NBD_INFO_BLOCK_SIZE', 'offers legal block sizes', async (place) => {
    const talk = await greeted(place);
    const replies = await talk.option(OPTION.INFO, infoData(place.exportName, [INFO.BLOCK_SIZE]));
    const found = replies.find(
      ({ data }) => data.length === 14 && data.readUInt16BE(0) === 3,
    )?.data;
    if (found === undefined) throw new NotOffered('BLOCK_SIZE');
    const [least, preferred, most] = [2, 6, 10].map((at) => found.readUInt32BE(at)) as [
      number,
      number,
      number,
    ];
    const isPower = (n: number): boolean => n > 0 && Number.isInteger(Math.log2(n));
    expectThat(isPower(least) && least <= 65536, `minimum ${least}`);
    expectThat(isPower(preferred) && preferred >= Math.max(512, least), `preferred ${preferred}`);
    expectThat(most >= preferred, `maximum ${most}`);
  }),
  must(
    'NBD_OPT_STARTTLS',
    'refuses STARTTLS it does not do with POLICY or UNSUP',
    async (place) => {
      const talk = await greeted(place);
      const type = await talk.answer(OPTION.STARTTLS);
      if (type === REPLY.ACK) throw new NotOffered('a server without TLS');
      expectThat(type === REPLY.ERR_POLICY || type === REPLY.ERR_UNSUP, 'another error');
      await stillTalks(talk);
    },
  ),
  must('NBD_OPT_PEEK_EXPORT', 'answers ERR_UNSUP to the withdrawn PEEK_EXPORT', async (place) => {
    const talk = await greeted(place);
    expectThat((await talk.answer(OPTION.PEEK_EXPORT)) === REPLY.ERR_UNSUP, 'another answer');
  }),
  should('NBD_OPT_STRUCTURED_REPLY', 'answers ERR_INVALID when it has data', async (place) => {
    const talk = await greeted(place);
    const type = await talk.answer(OPTION.STRUCTURED_REPLY, 'data');
    if (type === REPLY.ERR_UNSUP) throw new NotOffered('structured replies');
    expectThat(type === REPLY.ERR_INVALID, `it says ${nameIn(REPLY, type)}`);
    await stillTalks(talk);
  }),
  should('NBD_OPT_STRUCTURED_REPLY', 'goes on when it is said twice', async (place) => {
    const talk = await greeted(place);
    await talk.structured();
    await talk.answer(OPTION.STRUCTURED_REPLY);
    await stillTalks(talk);
  }),
  must(
    'TRANSMISSION FLAGS',
    'sets SEND_DF if and only if chunks were negotiated',
    async (place) => {
      const plain = await inTransmission(place);
      expectThat((plain.transmissionFlags & TRANSMISSION_FLAG.SEND_DF) === 0, 'DF without chunks');
      const { transmissionFlags } = await inTransmission(place, (talk) => talk.structured());
      expectThat((transmissionFlags & TRANSMISSION_FLAG.SEND_DF) !== 0, 'chunks without DF');
    },
  ),
  must('Transmission flags', 'sets FAST_ZERO only with WRITE_ZEROES', async (place) => {
    const { transmissionFlags: flags } = await inTransmission(place);
    const fast = (flags & TRANSMISSION_FLAG.SEND_FAST_ZERO) !== 0;
    expectThat(!fast || (flags & TRANSMISSION_FLAG.SEND_WRITE_ZEROES) !== 0, 'FAST_ZERO alone');
  }),
  should(
    'NBD_OPT_SET_META_CONTEXT',
    'refuses contexts without structured replies',
    async (place) => {
      const talk = await greeted(place);
      const data = contextData(place.exportName, ['base:allocation']);
      const type = await talk.answer(OPTION.SET_META_CONTEXT, data);
      if (type === REPLY.ERR_UNSUP) throw new NotOffered('contexts');
      expectThat(isError(type), 'it was accepted');
    },
  ),
  must('NBD_OPT_LIST_META_CONTEXT', 'lists every context when nothing is asked', async (place) => {
    const talk = await greeted(place);
    await talk.structured();
    const replies = await talk.option(OPTION.LIST_META_CONTEXT, contextData(place.exportName));
    const last = replies.at(-1)?.type ?? 0;
    if (last === REPLY.ERR_UNSUP) throw new NotOffered('contexts');
    expectThat(last === REPLY.ACK, 'no ACK');
    const names = replies.slice(0, -1).map(({ data }) => data.subarray(4).toString());
    expectThat(names.includes('base:allocation'), `no base:allocation in [${names.join(', ')}]`);
  }),
  must('NBD_OPT_SET_META_CONTEXT', 'ignores contexts it does not know', async (place) => {
    const talk = await greeted(place);
    await talk.structured();
    const ids = await talk.contexts('x-nobody:nothing', 'base:nothing');
    expectThat(ids.length === 0, 'it selected something');
  }),
  must(
    'NBD_OPT_SET_META_CONTEXT',
    'answers an error to lengths that do not add up',
    async (place) => {
      const talk = await greeted(place);
      await talk.structured();
      const data = contextData(place.exportName, ['base:allocation']);
      const type = await talk.answer(OPTION.SET_META_CONTEXT, data.subarray(0, data.length - 3));
      if (type === REPLY.ERR_UNSUP) throw new NotOffered('contexts');
      expectThat(isError(type), 'it was accepted');
      await stillTalks(talk);
    },
  ),
  must('NBD_OPT_EXTENDED_HEADERS', 'forbids STRUCTURED_REPLY afterwards', async (place) => {
    const talk = await greeted(place);
    await talk.extended();
    const type = await talk.answer(OPTION.STRUCTURED_REPLY);
    expectThat(type === REPLY.ERR_EXT_HEADER_REQD, 'another answer');
  }),
  must('Fixed newstyle negotiation', 'takes options split at every byte', async (place) => {
    const talk = await Conversation.open(place);
    await talk.read(SIZE.GREETING);
    const info = option(OPTION.INFO, infoData(place.exportName));
    for (const part of [clientFlags(3), info]) await talk.sendInPieces(part);
    const last = (await talk.optionReplies(OPTION.INFO)).at(-1);
    if (last?.type !== REPLY.ACK) throw new Breach('no ACK');
  }),
];
