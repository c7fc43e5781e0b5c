/* eslint-disable max-lines -- one table of options, and the one client all rows share */
// The server's half of the fixed newstyle negotiation: what each option is answered, in every
// state, and that no split of the client's bytes changes anything.
import { REPLY_STYLE } from '../../../core/nbd/chunk.ts';
import { ACCESS, OPEN_TO_ALL, TLS_MODE } from '../../../core/nbd/directory.ts';
import type { Access, ClientRules, TlsMode } from '../../../core/nbd/directory.ts';
import type { ExportDirectory, NegotiableExport } from '../../../core/nbd/directory.ts';
import { Handshake, HANDSHAKE_STATES } from '../../../core/nbd/handshake.ts';
import { CLIENT_FLAG, INFO, LIMIT, nameIn, OPTION, REPLY, SIZE } from '../../../core/nbd/proto.ts';
import { nameFlags, TRANSMISSION_FLAG } from '../../../core/nbd/proto.ts';
import {
  isOptionReply,
  readOptionReplyLength,
  readOptionReplyOption,
  readOptionReplyType,
} from '../../../core/nbd/wire.ts';
import { concat, hex, toHex } from '../../support/hex.ts';
import { clientFlags, contextData, infoData, option } from '../../support/nbd-messages.ts';

const FLAGS = clientFlags(CLIENT_FLAG.FIXED_NEWSTYLE | CLIENT_FLAG.NO_ZEROES);

function anExport(name: string, more: Partial<NegotiableExport> = {}): NegotiableExport {
  return {
    name,
    description: '',
    sizeBytes: 2 ** 20,
    transmissionFlags: 0x16d,
    preferredBlockBytes: 4096,
    isShuttingDown: false,
    contexts: ['base:allocation', 'x-dmiod:mirror'],
    ...more,
  };
}

class Directory implements ExportDirectory<NegotiableExport> {
  isShuttingDown = false;
  private readonly exports: readonly NegotiableExport[];

  constructor(exports: readonly NegotiableExport[]) {
    this.exports = exports;
  }

  find(name: string): NegotiableExport | undefined {
    if (name === '') return this.exports.length === 1 ? this.exports[0] : undefined;
    return this.exports.find((one) => one.name === name);
  }

  list(): readonly NegotiableExport[] {
    return this.exports;
  }
}

class Talk {
  readonly handshake: Handshake<NegotiableExport>;
  /** All that the server has said. */
  said: Uint8Array = new Uint8Array(0);
  private read = SIZE.GREETING;

  constructor(exports: ExportDirectory<NegotiableExport>, rules: ClientRules = OPEN_TO_ALL) {
    const write = (bytes: Uint8Array): void => {
      this.said = concat(this.said, bytes);
    };
    this.handshake = new Handshake(exports, { write }, rules);
  }

  /** The number of bytes taken. */
  send(bytes: Uint8Array): number {
    return this.handshake.consume(bytes, 0, bytes.length);
  }

  /** Option replies said since the last call, as `GO ERR_UNKNOWN text`; data not text as hex. */
  replies(): string[] {
    const found: string[] = [];
    const view = new DataView(this.said.buffer);
    while (this.read < this.said.length) {
      expect(isOptionReply(view, this.read)).toBe(true);
      const length = readOptionReplyLength(view, this.read);
      const type = readOptionReplyType(view, this.read);
      const name = `${nameIn(OPTION, readOptionReplyOption(view, this.read))} ${nameIn(REPLY, type)}`;
      const data = this.said.subarray(this.read + SIZE.OPTION_REPLY).subarray(0, length);
      const isText = type >= REPLY.ERR_UNSUP;
      found.push(`${name} ${isText ? new TextDecoder().decode(data) : toHex(data)}`.trim());
      this.read += SIZE.OPTION_REPLY + length;
    }
    return found;
  }
}

function talk(...exports: readonly NegotiableExport[]): Talk {
  const one = new Talk(new Directory(exports));
  one.send(FLAGS);
  return one;
}

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

describe('structured replies and extended headers', () => {
  it('are agreed by ACK, again too, and never the lesser after the greater', () => {
    const one = talk(anExport('a'));
    const { STRUCTURED_REPLY, EXTENDED_HEADERS, GO } = OPTION;
    one.send(
      concat(option(STRUCTURED_REPLY), option(STRUCTURED_REPLY, 'x'), option(STRUCTURED_REPLY)),
    );
    one.send(concat(option(EXTENDED_HEADERS), option(STRUCTURED_REPLY), option(GO, infoData('a'))));
    const types = one.replies().map((line) => line.split(' ')[1]);
    expect(types.slice(0, 5)).toEqual(['ACK', 'ERR_INVALID', 'ACK', 'ACK', 'ERR_EXT_HEADER_REQD']);
    expect(one.handshake.agreement).toEqual({
      style: REPLY_STYLE.EXTENDED,
      contexts: 0,
      readOnly: false,
    });
  });

  it('leave EXPORT_NAME to those who have not asked for long headers', () => {
    const one = talk(anExport('a'));
    one.send(concat(option(OPTION.EXTENDED_HEADERS), option(OPTION.EXPORT_NAME, 'a')));
    expect(one.handshake.failure).toContain('EXPORT_NAME after EXTENDED_HEADERS');
  });

  it('decide which flags are offered', () => {
    const flagsWith = (...before: readonly Uint8Array[]): string => {
      const one = talk(anExport('a'));
      one.send(concat(...before, option(OPTION.INFO, infoData('a'))));
      const info = one.replies().find((line) => line.startsWith('INFO INFO')) ?? '';
      return nameFlags(TRANSMISSION_FLAG, Number.parseInt(info.slice(-4), 16) & ~0x16d);
    };
    const structured = option(OPTION.STRUCTURED_REPLY);
    const extended = option(OPTION.EXTENDED_HEADERS);
    const set = option(OPTION.SET_META_CONTEXT, contextData('a', ['base:allocation']));
    expect(flagsWith()).toBe('0');
    expect(flagsWith(structured)).toBe('SEND_DF');
    expect(flagsWith(structured, set)).toBe('SEND_DF');
    expect(flagsWith(extended)).toBe('SEND_DF');
    expect(flagsWith(extended, set)).toBe('SEND_DF|BLOCK_STATUS_PAYLOAD');
  });
});

describe('metadata contexts', () => {
  const { LIST_META_CONTEXT, SET_META_CONTEXT, STRUCTURED_REPLY, GO } = OPTION;
  const names = (one: Talk): string[] =>
    one.replies().map((line) => {
      const [, type = '', data = ''] = line.split(' ');
      const text = Buffer.from(data, 'hex');
      return type === 'META_CONTEXT'
        ? `${text.readUInt32BE(0)} ${text.subarray(4).toString()}`
        : type;
    });

  it.each([
    [[], ['0 base:allocation', '0 x-dmiod:mirror', 'ACK']],
    [['base:'], ['0 base:allocation', 'ACK']],
    [
      ['x-dmiod:mirror', 'qemu:'],
      ['0 x-dmiod:mirror', 'ACK'],
    ],
    [['base', 'nothing:at-all', ''], ['ACK']],
  ])('are listed for the queries %j', (queries, expected) => {
    const one = talk(anExport('a'));
    one.send(option(LIST_META_CONTEXT, contextData('a', queries)));
    expect(names(one)).toEqual(expected);
  });

  it('are selected by name alone, each selection in place of the one before, failed or not', () => {
    const one = talk(anExport('a'));
    one.send(option(STRUCTURED_REPLY));
    one.send(
      option(SET_META_CONTEXT, contextData('a', ['base:', 'base:allocation', 'x-dmiod:mirror'])),
    );
    expect(names(one).slice(1)).toEqual(['1 base:allocation', '2 x-dmiod:mirror', 'ACK']);
    one.send(option(SET_META_CONTEXT, contextData('a', ['x-dmiod:mirror'])));
    one.send(option(GO, infoData('a')));
    expect(one.handshake.agreement.contexts).toBe(2);

    const failed = talk(anExport('a'));
    failed.send(option(STRUCTURED_REPLY));
    failed.send(option(SET_META_CONTEXT, contextData('a', ['base:allocation'])));
    failed.send(option(SET_META_CONTEXT, contextData('b', ['base:allocation'])));
    failed.send(option(GO, infoData('a')));
    expect(names(failed)).toContain('ERR_UNKNOWN');
    expect(failed.handshake.agreement.contexts).toBe(0);
  });

  it('count only for the name they were selected for', () => {
    const one = talk(anExport('a'));
    one.send(option(STRUCTURED_REPLY));
    one.send(option(SET_META_CONTEXT, contextData('a', ['base:allocation'])));
    one.send(option(GO, infoData('')));
    expect(one.handshake.state).toBe('TRANSMISSION');
    expect(one.handshake.agreement.contexts).toBe(0);
  });

  it('need structured replies, and data that add up', () => {
    const one = talk(anExport('a'));
    const good = contextData('a', ['base:allocation']);
    one.send(option(SET_META_CONTEXT, good));
    for (let length = 0; length < good.length; length += 1) {
      one.send(option(LIST_META_CONTEXT, good.subarray(0, length)));
    }
    one.send(option(LIST_META_CONTEXT, concat(good, good)));
    const types = names(one);
    expect(types).toHaveLength(good.length + 2);
    expect(new Set(types)).toEqual(new Set(['ERR_INVALID']));
  });
});

describe('TLS and access', () => {
  const rules = (tls: TlsMode, access: Access = ACCESS.WRITE): ClientRules => ({
    tls,
    accessTo: ({ name }) => (name === 'a' ? access : ACCESS.WRITE),
  });
  const guarded = (tls: TlsMode, access?: Access): Talk => {
    const one = new Talk(new Directory([anExport('a'), anExport('b')]), rules(tls, access));
    one.send(FLAGS);
    return one;
  };
  const go = (name: string): Uint8Array => option(OPTION.GO, infoData(name));
  const types = (one: Talk): (string | undefined)[] =>
    one.replies().map((line) => line.split(' ')[1]);

  it('forced: nothing but STARTTLS and ABORT before it, not even what is unknown', () => {
    const one = guarded(TLS_MODE.FORCED);
    for (const type of [3, 4, 6, 7, 8, 9, 10, 11, 99]) one.send(option(type, 'data'));
    expect(new Set(types(one))).toEqual(new Set(['ERR_TLS_REQD']));
    one.send(option(OPTION.STARTTLS, 'data'));
    expect(types(one)).toEqual(['ERR_INVALID']);
    const old = guarded(TLS_MODE.FORCED);
    old.send(option(OPTION.EXPORT_NAME, 'a'));
    expect(old.handshake.failure).toContain('before STARTTLS');
    const gone = guarded(TLS_MODE.FORCED);
    gone.send(option(OPTION.ABORT));
    expect(types(gone)).toEqual(['ACK']);
  });

  it('STARTTLS forgets what was agreed, and takes no byte behind itself', () => {
    const one = guarded(TLS_MODE.SELECTIVE);
    one.send(option(OPTION.STRUCTURED_REPLY));
    one.send(option(OPTION.SET_META_CONTEXT, contextData('a', ['base:allocation'])));
    const early = concat(option(OPTION.STARTTLS), option(OPTION.LIST));
    expect(one.send(early)).toBe(16);
    expect(one.handshake.state).toBe('TLS');
    one.handshake.secured(rules(TLS_MODE.SECURED));
    one.send(concat(option(OPTION.STARTTLS), go('a')));
    expect(types(one).slice(-3)).toEqual(['ERR_INVALID', 'INFO', 'ACK']);
    expect(one.handshake.agreement).toEqual({
      style: REPLY_STYLE.SIMPLE,
      contexts: 0,
      readOnly: false,
    });
  });

  it.each([
    ['for TLS only', ACCESS.TLS_FIRST, 'ERR_TLS_REQD'],
    ['for others', ACCESS.NONE, 'ERR_POLICY'],
  ] as const)('an export %s is not listed, and refused in words', (_, access, error) => {
    const one = guarded(TLS_MODE.SELECTIVE, access);
    one.send(concat(option(OPTION.LIST), go('a'), go('b')));
    expect(types(one)).toEqual(['SERVER', 'ACK', error, 'INFO', 'ACK']);
    const old = guarded(TLS_MODE.SELECTIVE, access);
    old.send(option(OPTION.EXPORT_NAME, 'a'));
    expect(old.handshake.failure).toContain('not for this client');
  });

  it('a reader is told that it is one', () => {
    const one = guarded(TLS_MODE.OFF, ACCESS.READ);
    one.send(go('a'));
    expect(one.replies()[0]).toMatch(/016f$/);
    expect(one.handshake.agreement.readOnly).toBe(true);
  });

  it('a server without TLS says so', () => {
    const one = guarded(TLS_MODE.OFF);
    one.send(option(OPTION.STARTTLS));
    expect(one.replies()).toEqual(['STARTTLS ERR_POLICY this server does not talk TLS']);
  });
});
