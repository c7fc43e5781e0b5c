// Every fixed message against bytes typed by hand from proto.md, in both directions.
import {
  BEYOND,
  isOption,
  isOptionReply,
  readGreeting,
  readOptionLength,
  readOptionReplyLength,
  readOptionReplyOption,
  readOptionReplyType,
  readOptionType,
  readRequest,
  readSimpleReply,
  readU64,
  RequestHeader,
  SimpleReplyHeader,
  writeExportNameReply,
  writeGreeting,
  writeInfoBlockSize,
  writeInfoExport,
  writeOption,
  writeOptionReply,
  writeRequest,
  writeSimpleReply,
  writeU64,
} from '../../core/nbd/wire.ts';
import * as proto from '../../core/nbd/proto.ts';
import { hex, toHex } from '../support/hex.ts';

const { COMMAND_FLAG, nameFlags, nameIn, NBD_ERROR, OPTION, REPLY, SIZE, TRANSMISSION_FLAG } =
  proto;

/** What `write` leaves in `lengthBytes` bytes; written at 3 to see that `at` counts. */
function written(lengthBytes: number, write: (view: DataView, at: number) => void): string {
  const bytes = new Uint8Array(lengthBytes + 6).fill(0xaa);
  write(new DataView(bytes.buffer), 3);
  expect(toHex(bytes.subarray(0, 3))).toBe('aaaaaa');
  expect(toHex(bytes.subarray(3 + lengthBytes))).toBe('aaaaaa');
  return toHex(bytes.subarray(3, 3 + lengthBytes));
}

const viewOf = (text: string): DataView => new DataView(hex(text).buffer);
const plain = (text: string): string => text.replace(/\s+/g, '');

describe('the greeting', () => {
  const bytes = '4e42444d41474943 49484156454f5054 0003';

  it('is written and read', () => {
    expect(written(SIZE.GREETING, (view, at) => writeGreeting(view, at, 3))).toBe(plain(bytes));
    expect(readGreeting(viewOf(bytes), 0)).toBe(3);
  });

  it('is refused with another magic in either half', () => {
    expect(readGreeting(viewOf(bytes.replace('4943', '4944')), 0)).toBeUndefined();
    expect(readGreeting(viewOf(bytes.replace('5054', '5055')), 0)).toBeUndefined();
  });
});

describe('options', () => {
  it('are written and read', () => {
    const bytes = '49484156454f5054 00000007 00000006';
    expect(written(SIZE.OPTION, (view, at) => writeOption(view, at, OPTION.GO, 6))).toBe(
      plain(bytes),
    );
    const view = viewOf(bytes);
    expect(isOption(view, 0)).toBe(true);
    expect(readOptionType(view, 0)).toBe(OPTION.GO);
    expect(readOptionLength(view, 0)).toBe(6);
    expect(isOption(viewOf('49484156454f5055 00000007 00000006'), 0)).toBe(false);
  });

  it('are replied to', () => {
    const bytes = '0003e889045565a9 00000007 80000006 00000010';
    const write = (view: DataView, at: number): void =>
      writeOptionReply(view, at, OPTION.GO, REPLY.ERR_UNKNOWN, 16);
    expect(written(SIZE.OPTION_REPLY, write)).toBe(plain(bytes));
    const view = viewOf(bytes);
    expect(isOptionReply(view, 0)).toBe(true);
    expect(readOptionReplyOption(view, 0)).toBe(OPTION.GO);
    expect(readOptionReplyType(view, 0)).toBe(REPLY.ERR_UNKNOWN);
    expect(readOptionReplyLength(view, 0)).toBe(16);
  });

  it('tell of an export', () => {
    const size = 2 ** 40 + 512;
    expect(
      written(SIZE.EXPORT_NAME_REPLY, (v, at) => writeExportNameReply(v, at, size, 0x16d)),
    ).toBe(plain('0000010000000200 016d'));
    expect(written(SIZE.INFO_EXPORT, (v, at) => writeInfoExport(v, at, size, 0x16d))).toBe(
      plain('0000 0000010000000200 016d'),
    );
    expect(
      written(SIZE.INFO_BLOCK_SIZE, (v, at) => writeInfoBlockSize(v, at, 1, 4096, 2 ** 25)),
    ).toBe(plain('0003 00000001 00001000 02000000'));
  });
});

describe('requests and replies', () => {
  const request = '25609513 0003 0006 0123456789abcdef 0000000100000200 80000000';

  it('have a request read', () => {
    const header = new RequestHeader();
    expect(readRequest(viewOf(request), 0, header)).toBe(true);
    expect(header).toMatchObject({
      flags: COMMAND_FLAG.FUA | COMMAND_FLAG.NO_HOLE,
      type: 6,
      cookieHigh: 0x01234567,
      cookieLow: 0x89abcdef,
      offset: 2 ** 32 + 512,
      lengthBytes: 2 ** 31,
    });
    expect(written(SIZE.REQUEST, (view, at) => writeRequest(view, at, header))).toBe(
      plain(request),
    );
  });

  it('leave the record alone when the magic is wrong', () => {
    const header = new RequestHeader();
    header.offset = 7;
    for (const magic of ['25609514', '12560953', '67446698', '21e41c71']) {
      expect(readRequest(viewOf(request.replace('25609513', magic)), 0, header)).toBe(false);
    }
    expect(header.offset).toBe(7);
  });

  it('have a simple reply written and read', () => {
    const bytes = '67446698 0000001c fedcba9876543210';
    const write = (view: DataView, at: number): void =>
      writeSimpleReply(view, at, NBD_ERROR.ENOSPC, 0xfedcba98, 0x76543210);
    expect(written(SIZE.SIMPLE_REPLY, write)).toBe(plain(bytes));
    const header = new SimpleReplyHeader();
    expect(readSimpleReply(viewOf(bytes), 0, header)).toBe(true);
    expect(header).toMatchObject({ error: 28, cookieHigh: 0xfedcba98, cookieLow: 0x76543210 });
    expect(readSimpleReply(viewOf('668e33ef 00000000 0000000000000000'), 0, header)).toBe(false);
  });
});

describe('64-bit numbers', () => {
  it.each([
    ['0000000000000000', 0],
    ['00000000ffffffff', 2 ** 32 - 1],
    ['0000000100000000', 2 ** 32],
    ['001fffffffffffff', Number.MAX_SAFE_INTEGER],
  ])('%s is %d', (bytes, value) => {
    expect(readU64(viewOf(bytes), 0)).toBe(value);
    expect(written(8, (view, at) => writeU64(view, at, value))).toBe(bytes);
  });

  it.each(['0020000000000000', '8000000000000000', 'ffffffffffffffff'])('%s is beyond', (bytes) => {
    expect(readU64(viewOf(bytes), 0)).toBe(BEYOND);
  });

  it('are not written beyond 2^53 - 1 or below 0', () => {
    const view = new DataView(new ArrayBuffer(8));
    expect(() => writeU64(view, 0, 2 ** 53)).toThrow('outside');
    expect(() => writeU64(view, 0, -1)).toThrow('outside');
  });
});

describe('the tables', () => {
  const { ALLOCATION, CHUNK, CHUNK_FLAG, CLIENT_FLAG, COMMAND, HANDSHAKE_FLAG, INFO } = proto;
  const flags = { ALLOCATION, CHUNK_FLAG, CLIENT_FLAG, COMMAND_FLAG, HANDSHAKE_FLAG };
  const numbers = { CHUNK, COMMAND, INFO, NBD_ERROR, OPTION, REPLY };

  it.each(Object.entries({ ...flags, TRANSMISSION_FLAG }))('%s is one bit a name', (_, table) => {
    const bits: readonly number[] = Object.values(table);
    expect(bits).toEqual(bits.map((_bit, i) => 2 ** i));
  });

  it.each(Object.entries(numbers))('%s has no number twice', (_, table) => {
    const values: readonly number[] = Object.values(table);
    expect(new Set(values).size).toBe(values.length);
  });

  it('have the errors of chunks and of options by their top bit', () => {
    for (const [name, type] of Object.entries(CHUNK)) {
      expect((type & 0x8000) !== 0).toBe(name.startsWith('ERROR'));
    }
    for (const [name, type] of Object.entries(REPLY)) {
      expect(type >= 0x80000000).toBe(name.startsWith('ERR_'));
    }
  });

  it('have the magics of proto.md', () => {
    const { REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC } = proto;
    const magics = [REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC];
    magics.push(proto.EXTENDED_REQUEST_MAGIC, proto.EXTENDED_REPLY_MAGIC);
    const words = magics.map((magic) => magic.toString(16));
    expect(words).toEqual(['25609513', '67446698', '668e33ef', '21e41c71', '6e8a278c']);
  });
});

describe('names', () => {
  it('come from the tables', () => {
    expect(nameIn(OPTION, 7)).toBe('GO');
    expect(nameIn(REPLY, 0x80000006)).toBe('ERR_UNKNOWN');
    expect(nameIn(OPTION, 99)).toBe('0x63');
    expect(nameFlags(TRANSMISSION_FLAG, 3)).toBe('HAS_FLAGS|READ_ONLY');
    expect(nameFlags(COMMAND_FLAG, 0x8001)).toBe('FUA|0x8000');
    expect(nameFlags(COMMAND_FLAG, 0)).toBe('0');
  });
});
