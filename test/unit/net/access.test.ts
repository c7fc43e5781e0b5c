// Rules of who may what, against clients of every kind.
import { ACCESS, TLS_MODE, type NegotiableExport } from '../../../core/nbd/directory.ts';
import { isLoopback, policyOf, refusePlainTcp } from '../../../daemon/config/network.ts';
import { matches, parseRule } from '../../../daemon/net/access.ts';
import { STDIO_CLIENT, type ClientIdentity } from '../../../daemon/net/client.ts';
import type { TlsPeer } from '../../../daemon/tls/messages.ts';

const tcp = (address: string, tls: TlsPeer | null = null): ClientIdentity => {
  return { kind: 'tcp', address, credentials: null, tls };
};
const unix = (uid: number, gid = uid): ClientIdentity => {
  return { kind: 'unix', address: null, credentials: { pid: 7, uid, gid }, tls: null };
};
const alice: TlsPeer = {
  protocol: 'TLSv1.3',
  subject: { CN: ['alice'], OU: ['a', 'b'] },
  psk: null,
};
const bob: TlsPeer = { protocol: 'TLSv1.3', subject: null, psk: 'bob' };
const data = { name: 'data' } as NegotiableExport;

describe('a rule', () => {
  it.each([
    ['uid:0', unix(0), true],
    ['uid:0', unix(1000), false],
    ['uid:0', tcp('127.0.0.1'), false],
    ['gid:6', unix(1000, 6), true],
    ['address:10.1.0.0/16', tcp('10.1.255.1'), true],
    ['address:10.1.0.0/16', tcp('10.2.0.1'), false],
    ['address:10.1.0.0/16', unix(0), false],
    ['address:fd00::/8', tcp('fd12::1'), true],
    ['address:192.168.1.7', tcp('192.168.1.7'), true],
    ['subject:CN=alice', tcp('1.2.3.4', alice), true],
    ['subject:CN=alice,OU=b', tcp('1.2.3.4', alice), true],
    ['subject:CN=alice,OU=c', tcp('1.2.3.4', alice), false],
    ['subject:CN=alic', tcp('1.2.3.4', alice), false],
    ['subject:CN=alice', tcp('1.2.3.4', bob), false],
    ['subject:CN=alice', tcp('1.2.3.4'), false],
    ['psk:bob', tcp('1.2.3.4', bob), true],
    ['psk:bob', tcp('1.2.3.4', alice), false],
  ] as const)('%s for %j is %s', (text, client, expected) => {
    const rule = parseRule(text);
    expect(rule && matches(rule, client)).toBe(expected);
  });

  it.each([
    '',
    'uid:',
    'uid:x',
    'uid:-1',
    'address:',
    'address:1.2.3',
    'address:1.2.3.4/33',
    'psk:',
    'subject:CN',
    'subject:CN=',
    'user:me',
    'address:1.2.3.4/8/8',
  ])('is not %j', (text) => expect(parseRule(text)).toBeUndefined());
});

describe('a policy', () => {
  const access = (config: object, device: object, client: ClientIdentity): number =>
    policyOf({ config, devices: { data: device } })
      .rulesFor(client)
      .accessTo(data);
  const tls = { mode: 'selective', certificates: '/x' };

  it.each([
    ['nobody is named', {}, {}, tcp('1.1.1.1'), ACCESS.WRITE],
    ['one is named', { allow: ['uid:1'] }, {}, unix(1), ACCESS.WRITE],
    ['others are named', { allow: ['uid:1'] }, {}, unix(2), ACCESS.NONE],
    ['one may read', { allow: ['uid:1'], 'allow-read': ['uid:2'] }, {}, unix(2), ACCESS.READ],
    [
      'the device has rules of its own',
      { allow: ['uid:1'] },
      { allow: ['uid:2'] },
      unix(1),
      ACCESS.NONE,
    ],
    [
      'a certificate would help',
      { tls },
      { allow: ['subject:CN=alice'] },
      tcp('1.1.1.1'),
      ACCESS.TLS_FIRST,
    ],
    [
      'the certificate is there',
      { tls },
      { allow: ['subject:CN=alice'] },
      tcp('1.1.1.1', alice),
      ACCESS.WRITE,
    ],
    ['it is another', { tls }, { allow: ['subject:CN=alice'] }, tcp('1.1.1.1', bob), ACCESS.NONE],
    ['TLS is needed', { tls }, { tls: 'required' }, unix(0), ACCESS.TLS_FIRST],
    ['TLS is there', { tls }, { tls: 'required' }, tcp('1.1.1.1', bob), ACCESS.WRITE],
    ['who started us asks', { allow: ['uid:1'] }, {}, STDIO_CLIENT, ACCESS.WRITE],
  ] as const)('when %s', (_, config, device, client, expected) => {
    expect(access(config, device, client)).toBe(expected);
  });

  it('leaves unix sockets in the clear when told so, and nothing else', () => {
    const required = { mode: 'required', certificates: '/x' } as const;
    const mode = (plain: boolean, client: ClientIdentity): number =>
      policyOf({ config: { tls: { ...required, 'plain-unix': plain } }, devices: {} }).rulesFor(
        client,
      ).tls;
    expect(mode(false, unix(0))).toBe(TLS_MODE.FORCED);
    expect(mode(true, unix(0))).toBe(TLS_MODE.SELECTIVE);
    expect(mode(true, tcp('127.0.0.1'))).toBe(TLS_MODE.FORCED);
    expect(mode(true, STDIO_CLIENT)).toBe(TLS_MODE.OFF);
    expect(mode(true, tcp('1.1.1.1', alice))).toBe(TLS_MODE.SECURED);
  });
});

describe('listening', () => {
  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost', '::ffff:127.0.0.1'])(
    '%s is this machine',
    (host) => {
      expect(isLoopback(host)).toBe(true);
    },
  );

  it.each(['0.0.0.0', '::', '192.168.0.1', 'example.org', '::ffff:10.0.0.1'])(
    'on %s needs TLS or a word',
    (host) => {
      const address = { kind: 'tcp', host, port: 1 } as const;
      const tls = (mode: 'selective' | 'required') => ({
        config: { tls: { mode, certificates: '/x' } },
        devices: {},
      });
      expect(() => refusePlainTcp({ config: {}, devices: {} }, address)).toThrow(
        'TLS is not required',
      );
      expect(() => refusePlainTcp(tls('selective'), address)).toThrow('TLS is not required');
      expect(() => refusePlainTcp(tls('required'), address)).not.toThrow();
      expect(() =>
        refusePlainTcp({ config: { 'allow-plain-tcp': true }, devices: {} }, address),
      ).not.toThrow();
    },
  );
});
