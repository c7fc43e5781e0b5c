// The server's half of the fixed newstyle negotiation: what each option is answered, in every
// state, and that no split of the client's bytes changes anything.
import { HANDSHAKE_STATES } from '../../../core/nbd/handshake.ts';
import { CLIENT_FLAG, INFO, LIMIT, OPTION, SIZE } from '../../../core/nbd/proto.ts';
import { FLAGS, anExport, Directory, Talk, talk } from '../../support/handshake-talk.ts';
import { concat, hex, toHex } from '../../support/hex.ts';
import { clientFlags, infoData, option } from '../../support/nbd-messages.ts';

describe('the table of states', () => {
  it('has only its own states as targets, and an end behind every one', () => {
    const names = Object.keys(HANDSHAKE_STATES);
    for (const state of Object.values(HANDSHAKE_STATES)) {
      expect(state.comment).not.toBe('');
      for (const next of Object.values(state.next)) expect(names).toContain(next);
    }
    const reached = new Set(['CLIENT_FLAGS']);
    for (const name of reached) {
      const { next } = HANDSHAKE_STATES[name as keyof typeof HANDSHAKE_STATES];
      for (const target of Object.values(next)) reached.add(target);
    }
    expect([...reached].sort()).toEqual(names.sort());
  });
});

describe('greeting and client flags', () => {
  it('greets with fixed newstyle and no zeroes', () => {
    expect(toHex(new Talk(new Directory([])).said)).toBe('4e42444d4147494349484156454f50540003');
  });

  it.each([4, 0x80000000, 0xffffffff])('drops a client with unknown flag %d', (flags) => {
    const one = new Talk(new Directory([anExport('a')]));
    one.send(clientFlags(flags));
    expect(one.handshake.state).toBe('CLOSED');
    expect(one.handshake.failure).toContain('unknown client flags');
    expect(one.send(option(OPTION.LIST))).toBe(16);
    expect(one.replies()).toEqual([]);
  });

  it('drops a client without fixed newstyle that uses options', () => {
    const one = new Talk(new Directory([anExport('a')]));
    one.send(concat(clientFlags(0), option(OPTION.LIST)));
    expect(one.handshake.state).toBe('CLOSED');
    expect(one.replies()).toEqual([]);
  });

  it('drops a client whose option has no magic', () => {
    const one = talk(anExport('a'));
    one.send(new Uint8Array(16));
    expect(one.handshake.failure).toBe('an option without its magic');
  });
});

describe('EXPORT_NAME', () => {
  it('answers 10 bytes when no zeroes are agreed, and leaves what follows', () => {
    const one = talk(anExport('disk'), anExport('other'));
    const requests = hex('25609513');
    const chosen = option(OPTION.EXPORT_NAME, 'disk');
    expect(one.send(concat(chosen, requests))).toBe(chosen.length);
    expect(one.handshake.state).toBe('TRANSMISSION');
    expect(one.handshake.chosen?.name).toBe('disk');
    expect(toHex(one.said.subarray(SIZE.GREETING))).toBe('0000000000100000016d');
  });

  it.each([0, CLIENT_FLAG.FIXED_NEWSTYLE])('answers 134 bytes to client flags %d', (flags) => {
    const one = new Talk(new Directory([anExport('disk')]));
    one.send(concat(clientFlags(flags), option(OPTION.EXPORT_NAME, '')));
    expect(one.handshake.chosen?.name).toBe('disk');
    expect(toHex(one.said.subarray(SIZE.GREETING))).toBe(`0000000000100000016d${'00'.repeat(124)}`);
  });

  it('disconnects where it would have to say no', () => {
    for (const name of ['nope', '', 'a\0b', 'x'.repeat(4097), 'x'.repeat(LIMIT.OPTION_BYTES + 1)]) {
      const one = talk(anExport('a'), anExport('b'));
      one.send(option(OPTION.EXPORT_NAME, name));
      expect(one.handshake.state).toBe('CLOSED');
      expect(one.handshake.failure).not.toBe('');
    }
    const leaving = talk(anExport('a', { isShuttingDown: true }));
    leaving.send(option(OPTION.EXPORT_NAME, 'a'));
    expect(leaving.handshake.failure).toBe('export "a" is shutting down');
  });
});

describe('ABORT', () => {
  it.each([0, 3, 100_000])('is acknowledged, with %d bytes of data too', (length) => {
    const one = talk(anExport('a'));
    one.send(option(OPTION.ABORT, new Uint8Array(length)));
    expect(one.replies()).toEqual(['ABORT ACK']);
    expect(one.handshake.state).toBe('CLOSED');
    expect(one.handshake.failure).toBe('');
  });
});

describe('LIST', () => {
  it('names every export, with its description', () => {
    const one = talk(anExport('a'), anExport('bé', { description: 'x' }));
    one.send(option(OPTION.LIST));
    expect(one.replies()).toEqual([
      'LIST SERVER 0000000161',
      'LIST SERVER 0000000362c3a978',
      'LIST ACK',
    ]);
  });

  it('is empty without exports, and takes no data', () => {
    const one = talk();
    one.send(concat(option(OPTION.LIST), option(OPTION.LIST, 'x')));
    expect(one.replies()).toEqual(['LIST ACK', 'LIST ERR_INVALID LIST takes no data']);
  });
});

describe('INFO and GO', () => {
  const all = [INFO.EXPORT, INFO.NAME, INFO.DESCRIPTION, INFO.BLOCK_SIZE, 77];

  it('tell what was asked, EXPORT always', () => {
    const one = talk(anExport('disk', { description: 'd' }));
    one.send(option(OPTION.INFO, infoData('')));
    expect(one.replies()).toEqual(['INFO INFO 00000000000000100000016d', 'INFO ACK']);
    one.send(option(OPTION.INFO, infoData('', all)));
    const informed = one.replies();
    expect(informed).toEqual([
      'INFO INFO 00000000000000100000016d',
      'INFO INFO 00016469736b',
      'INFO INFO 000264',
      'INFO INFO 0003000000010000100002000000',
      'INFO ACK',
    ]);
    one.send(option(OPTION.GO, infoData('', all)));
    expect(one.replies()).toEqual(informed.map((line) => line.replace(/^INFO/, 'GO')));
    expect(one.handshake.chosen?.name).toBe('disk');
  });

  it('keep quiet about a description there is not', () => {
    const one = talk(anExport('disk'));
    one.send(option(OPTION.INFO, infoData('disk', [INFO.DESCRIPTION])));
    expect(one.replies()).toEqual(['INFO INFO 00000000000000100000016d', 'INFO ACK']);
  });

  it('say which name is unknown, and go on', () => {
    const one = talk(anExport('a'), anExport('b'));
    one.send(option(OPTION.GO, infoData('c')));
    one.send(option(OPTION.INFO, infoData('')));
    expect(one.replies()).toEqual([
      'GO ERR_UNKNOWN there is no export named "c"',
      'INFO ERR_UNKNOWN there is no default export: not exactly one export is served',
    ]);
    one.send(option(OPTION.GO, infoData('b')));
    expect(one.handshake.chosen?.name).toBe('b');
  });

  it.each([
    ['no data', '', 'too short'],
    ['five bytes', '00 00 00 00 00', 'too short'],
    ['a name longer than the data', '00 00 00 02 61 00 00', 'longer than the data'],
    ['a huge name length', 'ff ff ff ff 61 00 00', 'longer than the data'],
    ['fewer ids than counted', '00 00 00 01 61 00 01', 'does not fit'],
    ['more ids than counted', '00 00 00 01 61 00 00 00 01', 'does not fit'],
    ['half an id', '00 00 00 01 61 00 01 00', 'does not fit'],
    ['a NUL in the name', '00 00 00 01 00 00 00', 'UTF-8'],
    ['a broken name', '00 00 00 01 ff 00 00', 'UTF-8'],
    ['an overlong slash', '00 00 00 02 c0 af 00 00', 'UTF-8'],
  ])('refuse %s', (_, data, why) => {
    const one = talk(anExport('a'));
    one.send(option(OPTION.GO, hex(data)));
    const [answer] = one.replies();
    expect(answer).toContain('GO ERR_INVALID');
    expect(answer).toContain(why);
    expect(one.handshake.state).toBe('OPTION');
  });

  it('refuse a name above 4096 bytes, and data above the limit, without buffering it', () => {
    const one = talk(anExport('a'));
    one.send(option(OPTION.GO, infoData('x'.repeat(LIMIT.STRING_BYTES + 1))));
    one.send(option(OPTION.GO, infoData('x'.repeat(LIMIT.STRING_BYTES))));
    one.send(option(OPTION.GO, new Uint8Array(LIMIT.OPTION_BYTES + 1)));
    expect(one.replies().map((line) => line.slice(0, 16).trim())).toEqual([
      'GO ERR_INVALID t',
      'GO ERR_UNKNOWN t',
      'GO ERR_TOO_BIG 1',
    ]);
  });
});

describe('other options', () => {
  const others = [4, 12, 0, 99, 0xffffffff];

  it.each(others)('%d is not supported, with and without data', (type) => {
    const one = talk(anExport('a'));
    one.send(concat(option(type), option(type, 'data'), option(OPTION.GO, infoData('a'))));
    const [first, second, ...rest] = one.replies();
    expect(first).toContain(' ERR_UNSUP ');
    expect(second).toBe(first);
    expect(rest.at(-1)).toBe('GO ACK');
  });

  it('may have a mebibyte of data, which is thrown away as it comes', () => {
    const one = talk(anExport('a'));
    const message = option(1234, new Uint8Array(2 ** 20));
    for (let at = 0; at < message.length; at += 60_000) {
      one.send(message.subarray(at, at + 60_000));
    }
    expect(one.replies()).toEqual(['0x4d2 ERR_UNSUP option 0x4d2 is not supported']);
  });

  it('end the connection when data or number are beyond reason', () => {
    const long = talk(anExport('a'));
    const header = option(1234).slice();
    new DataView(header.buffer).setUint32(12, LIMIT.SKIPPED_OPTION_BYTES + 1);
    long.send(header);
    expect(long.handshake.state).toBe('CLOSED');

    const many = talk(anExport('a'));
    for (let i = 0; i < LIMIT.OPTIONS; i += 1) many.send(option(OPTION.LIST));
    expect(many.handshake.state).toBe('OPTION');
    many.send(option(OPTION.LIST));
    expect(many.handshake.failure).toBe('more than 1024 options');
  });
});

describe('a shutdown', () => {
  it('is said to every option but ABORT', () => {
    const directory = new Directory([anExport('a')]);
    directory.isShuttingDown = true;
    const one = new Talk(directory);
    one.send(concat(FLAGS, option(OPTION.LIST), option(OPTION.INFO, infoData('a'))));
    one.send(concat(option(OPTION.GO, infoData('zzz')), option(OPTION.ABORT)));
    expect(one.replies()).toEqual([
      'LIST ERR_SHUTDOWN the server is shutting down',
      'INFO ERR_SHUTDOWN the server is shutting down',
      'GO ERR_SHUTDOWN the server is shutting down',
      'ABORT ACK',
    ]);
  });

  it('of one export is said to those who ask for it', () => {
    const one = talk(anExport('a', { isShuttingDown: true }), anExport('b'));
    one.send(option(OPTION.GO, infoData('a')));
    one.send(option(OPTION.GO, infoData('b')));
    expect(one.replies()[0]).toBe('GO ERR_SHUTDOWN export "a" is shutting down');
    expect(one.handshake.chosen?.name).toBe('b');
  });
});

describe('any split', () => {
  const conversation = concat(
    FLAGS,
    option(OPTION.LIST),
    option(OPTION.STRUCTURED_REPLY),
    option(99, 'some data'),
    option(OPTION.INFO, infoData('nope', [3])),
    option(OPTION.GO, hex('00')),
    option(OPTION.INFO, infoData('a', [0, 1, 2, 3])),
    option(OPTION.GO, infoData('a', [3])),
  );
  const whole = new Talk(new Directory([anExport('a'), anExport('b')]));
  whole.send(conversation);

  it('in two, at every byte, says the same', () => {
    for (let cut = 0; cut <= conversation.length; cut += 1) {
      const one = new Talk(new Directory([anExport('a'), anExport('b')]));
      one.send(conversation.subarray(0, cut));
      one.send(conversation.subarray(cut));
      expect(toHex(one.said)).toBe(toHex(whole.said));
      expect(one.handshake.state).toBe('TRANSMISSION');
    }
  });

  it('into single bytes says the same', () => {
    const one = new Talk(new Directory([anExport('a'), anExport('b')]));
    for (const byte of conversation) one.send(Uint8Array.of(byte));
    expect(toHex(one.said)).toBe(toHex(whole.said));
  });
});
