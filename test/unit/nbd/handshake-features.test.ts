// The server's half of the negotiation: what is agreed on beside an export: reply styles, metadata contexts, TLS.
import { REPLY_STYLE } from '../../../core/nbd/chunk.ts';
import { ACCESS, TLS_MODE } from '../../../core/nbd/directory.ts';
import type { Access, ClientRules, TlsMode } from '../../../core/nbd/directory.ts';
import { OPTION, nameFlags, TRANSMISSION_FLAG } from '../../../core/nbd/proto.ts';
import { FLAGS, anExport, Directory, Talk, talk } from '../../support/handshake-talk.ts';
import { concat } from '../../support/hex.ts';
import { contextData, infoData, option } from '../../support/nbd-messages.ts';

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
