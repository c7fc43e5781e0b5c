// What proto.md asks of single options, beside handshake-checks.ts: names, contexts, extended headers.
import {
  CLIENT_FLAG,
  COMMAND,
  INFO,
  NBD_ERROR,
  OPTION,
  REPLY,
  SIMPLE_REPLY_MAGIC,
  SIZE,
  TRANSMISSION_FLAG,
} from '../../core/nbd/proto.ts';
import { contextData, infoData, option, request } from '../support/nbd-messages.ts';
import { must, should, type Check } from './check.ts';
import { Conversation, expectThat, inTransmission, NotOffered, type Place } from './client.ts';

const NOBODY = 'no-such-export-as-this';
const isError = (type: number): boolean => type >= REPLY.ERR_UNSUP;

const greeted = (place: Place): Promise<Conversation> => Conversation.greeted(place, 3);

async function goesOn(talk: Conversation): Promise<void> {
  const type = await talk.answer(OPTION.INFO, infoData(talk.place.exportName));
  expectThat(type === REPLY.ACK, 'INFO fails afterwards');
}

/** Some servers serve any name. */
async function knowsNames(place: Place, name = NOBODY): Promise<void> {
  const talk = await greeted(place);
  const type = await talk.answer(OPTION.INFO, infoData(name));
  if (type === REPLY.ACK) throw new NotOffered('exports by name');
}

/** A GO that is refused, and options that go on. */
function refusesName(name: string) {
  return async (place: Place): Promise<void> => {
    await knowsNames(place, name);
    const talk = await greeted(place);
    expectThat(isError(await talk.answer(OPTION.GO, infoData(name))), 'no error');
    await goesOn(talk);
  };
}

async function withStructured(place: Place): Promise<Conversation> {
  const talk = await greeted(place);
  await talk.structured();
  return talk;
}

/** Selects base:allocation, does something, and asks BLOCK_STATUS after GO: it must not be answered. */
function selectsNothing(meanwhile: (talk: Conversation) => Promise<unknown>) {
  return async (place: Place): Promise<void> => {
    const talk = await withStructured(place);
    const ids = await talk.contexts('base:allocation');
    if (ids.length === 0) throw new NotOffered('base:allocation');
    await meanwhile(talk);
    await talk.go();
    const { error } = await talk.ask({ type: COMMAND.BLOCK_STATUS, length: 512 });
    expectThat(error !== NBD_ERROR.OK, 'the context is selected still');
  };
}

async function listed(talk: Conversation, ...queries: readonly string[]): Promise<string[]> {
  const data = contextData(talk.place.exportName, queries);
  const replies = await talk.option(OPTION.LIST_META_CONTEXT, data);
  if (replies.at(-1)?.type === REPLY.ERR_UNSUP) throw new NotOffered('contexts');
  expectThat(replies.at(-1)?.type === REPLY.ACK, 'no ACK');
  return replies.slice(0, -1).map((reply) => reply.data.subarray(4).toString());
}

export const OPTION_CHECKS: readonly Check[] = [
  must('NBD_FLAG_C_NO_ZEROES', 'leaves the zeroes out when that is agreed', async (place) => {
    const talk = await greeted(place);
    talk.send(option(OPTION.EXPORT_NAME, place.exportName));
    await talk.read(SIZE.EXPORT_NAME_REPLY);
    talk.send(request({ type: COMMAND.READ, length: 512 }));
    const magic = (await talk.read(SIZE.SIMPLE_REPLY)).readUInt32BE(0);
    expectThat(magic === SIMPLE_REPLY_MAGIC, 'something else comes before the first reply');
  }),
  must('NBD_OPT_GO', 'sends no zeroes behind GO, agreed or not', async (place) => {
    const talk = await Conversation.greeted(place, CLIENT_FLAG.FIXED_NEWSTYLE);
    await talk.go();
    const { error } = await talk.ask({ type: COMMAND.READ, length: 512 });
    expectThat(error === NBD_ERROR.OK, 'READ fails');
  }),
  must('NBD_OPT_GO', 'refuses a name nobody has, and goes on', refusesName(NOBODY)),
  should(
    'String values',
    'refuses a name of 4096 bytes, and goes on',
    refusesName('x'.repeat(4096)),
  ),
  must('NBD_OPT_EXPORT_NAME', 'hangs up on a name nobody has', async (place) => {
    await knowsNames(place);
    const talk = await greeted(place);
    talk.send(option(OPTION.EXPORT_NAME, NOBODY));
    expectThat(await talk.closes(), 'it goes on');
  }),
  must('NBD_OPT_GO', 'sets HAS_FLAGS', async (place) => {
    const { transmissionFlags } = await inTransmission(place);
    expectThat((transmissionFlags & TRANSMISSION_FLAG.HAS_FLAGS) !== 0, 'it is not set');
  }),
  must('NBD_FLAG_BLOCK_STATUS_PAYLOAD', 'is set with extended headers only', async (place) => {
    const { transmissionFlags } = await inTransmission(place);
    expectThat((transmissionFlags & TRANSMISSION_FLAG.BLOCK_STATUS_PAYLOAD) === 0, 'it is set');
  }),
  should('Option types', 'hangs up on an option with another magic', async (place) => {
    const talk = await greeted(place);
    talk.send(new Uint8Array(SIZE.OPTION).fill(0x55));
    expectThat(await talk.closes(), 'it goes on');
  }),
  must(
    'Option types',
    'serves others when one leaves in the middle of an option',
    async (place) => {
      const talk = await greeted(place);
      talk.send(option(OPTION.GO, infoData(place.exportName)).subarray(0, 21));
      talk.hangUp();
      await goesOn(await greeted(place));
    },
  ),
  must('NBD_INFO_NAME', 'tells a name that can be chosen, if it tells one', async (place) => {
    const talk = await greeted(place);
    const replies = await talk.option(OPTION.INFO, infoData(place.exportName, [INFO.NAME]));
    const found = replies.find(({ data }) => data.length > 2 && data.readUInt16BE(0) === INFO.NAME);
    if (found === undefined) throw new NotOffered('NAME');
    const name = found.data.subarray(2).toString();
    expectThat(
      (await talk.answer(OPTION.INFO, infoData(name))) === REPLY.ACK,
      `there is no ${name}`,
    );
  }),
  must(
    'NBD_OPT_LIST_META_CONTEXT',
    'takes "base:" for a question about all of them',
    async (place) => {
      const names = await listed(await withStructured(place), 'base:');
      expectThat(names.includes('base:allocation'), `it lists [${names.join(', ')}]`);
    },
  ),
  must('NBD_OPT_SET_META_CONTEXT', 'takes "base:" for nothing', async (place) => {
    const ids = await (await withStructured(place)).contexts('base:');
    expectThat(ids.length === 0, 'it selected something');
  }),
  must('NBD_OPT_SET_META_CONTEXT', 'gives each context an id of its own', async (place) => {
    const all = await listed(await withStructured(place));
    if (all.length < 2) throw new NotOffered('two contexts');
    const ids = await (await withStructured(place)).contexts(...all);
    expectThat(ids.length === all.length, `${ids.length} of ${all.length}`);
    expectThat(new Set(ids).size === ids.length, 'an id is used twice');
  }),
  must(
    'NBD_OPT_SET_META_CONTEXT',
    'replaces what was selected',
    selectsNothing((talk) => talk.contexts()),
  ),
  must(
    'NBD_OPT_SET_META_CONTEXT',
    'forgets what was selected when it fails, too',
    selectsNothing(async (talk) => {
      const data = contextData(talk.place.exportName, ['base:allocation']);
      const type = await talk.answer(OPTION.SET_META_CONTEXT, data.subarray(0, data.length - 3));
      expectThat(isError(type), 'it was accepted');
    }),
  ),
  should('NBD_OPT_EXTENDED_HEADERS', 'answers ERR_INVALID when it has data', async (place) => {
    const talk = await greeted(place);
    const type = await talk.answer(OPTION.EXTENDED_HEADERS, 'data');
    if (type === REPLY.ERR_UNSUP) throw new NotOffered('extended headers');
    expectThat(type === REPLY.ERR_INVALID, 'another answer');
    await goesOn(talk);
  }),
  must('NBD_OPT_EXTENDED_HEADERS', 'hangs up on EXPORT_NAME afterwards', async (place) => {
    const talk = await greeted(place);
    await talk.extended();
    talk.send(option(OPTION.EXPORT_NAME, place.exportName));
    expectThat(await talk.closes(), 'it goes on');
  }),
];
