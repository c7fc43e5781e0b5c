import { exportKey, parseNbdUri, type NbdUri } from '../../../core/nbd/uri.ts';

function parsed(text: string): NbdUri {
  const uri = parseNbdUri(text);
  if (typeof uri === 'string') throw new Error(uri);
  return uri;
}

describe('parseNbdUri', () => {
  it.each([
    ['nbd://host/name', { kind: 'tcp', host: 'host', port: 10809 }, 'name'],
    ['nbd://host', { kind: 'tcp', host: 'host', port: 10809 }, ''],
    ['nbd://10.0.0.1:1234/a/b', { kind: 'tcp', host: '10.0.0.1', port: 1234 }, 'a/b'],
    ['nbd://[::1]:99/%C3%A9', { kind: 'tcp', host: '::1', port: 99 }, 'é'],
    ['nbd+unix:///n?socket=/run/x', { kind: 'unix', path: '/run/x' }, 'n'],
    ['nbd+unix:///?socket=%2Frun%2Fa%20b', { kind: 'unix', path: '/run/a b' }, ''],
  ])('reads %s', (text, address, exportName) => {
    const defaults = { tls: null, timeoutMs: 10_000, connections: 2 };
    expect(parseNbdUri(text)).toEqual({ address, exportName, ...defaults });
  });

  it('reads its own parameters', () => {
    const uri = parsed('nbd://h/n?timeout=3&connections=4');
    expect([uri.timeoutMs, uri.connections]).toEqual([3000, 4]);
  });

  it.each([
    ['nbds://h/n', { serverName: 'h', certificates: null, psk: null }],
    [
      'nbds://h:99/n?tls-certificates=/etc/pki/a%20b',
      { serverName: 'h', certificates: '/etc/pki/a b', psk: null },
    ],
    [
      'nbds://10.0.0.1/n?tls-certificates=/x&tls-hostname=store.example',
      { serverName: 'store.example', certificates: '/x', psk: null },
    ],
    [
      'nbds+unix:///n?socket=/s&tls-certificates=/x',
      { serverName: 'localhost', certificates: '/x', psk: null },
    ],
    [
      'nbds://al%40ice@h/n?tls-psk-file=/etc/keys',
      { serverName: 'h', certificates: null, psk: { identity: 'al@ice', file: '/etc/keys' } },
    ],
    [
      'nbds+unix://alice@/n?socket=/s&tls-psk-file=/k',
      { serverName: 'localhost', certificates: null, psk: { identity: 'alice', file: '/k' } },
    ],
  ])('reads the TLS of %s', (text, tls) => {
    expect(parsed(text).tls).toEqual(tls);
  });

  it.each([
    ['nbd:/h/n', 'expected nbd://'],
    ['http://h/n', 'expected nbd://'],
    ['nbd://h/n?tls-certificates=/x', 'tls-certificates goes with nbds://'],
    ['nbds://h/n?tls-certificates=x', 'x: expected an absolute path'],
    ['nbds://me@h/n?tls-psk-file=k', 'k: expected an absolute path'],
    ['nbds://h/n?tls-psk-file=/k', 'needs the name of a key'],
    ['nbds://me@h/n', 'a user name goes with tls-psk-file'],
    ['nbds://@h/n', 'user name is not UTF-8'],
    ['nbds://me@h/n?tls-psk-file=/k&tls-certificates=/c', 'only one of them'],
    ['nbds://me@h/n?tls-psk-file=/k&tls-hostname=h', 'goes with certificates'],
    ['nbd://h/n#x', 'fragment'],
    ['nbd:///n', 'host is missing'],
    ['nbd://h:0/n', 'port 0'],
    ['nbd://h:99999/n', 'port 99999'],
    ['nbd://h:x/n', 'no host and port'],
    ['nbd://me@h/n', 'user name'],
    ['nbd://h/%ff', 'not UTF-8'],
    ['nbd://h/a%00b', 'NUL'],
    [`nbd://h/${'x'.repeat(4097)}`, 'over 4096'],
    ['nbd://h/n?socket=/x', 'goes with nbd+unix'],
    ['nbd+unix://h/n?socket=/x', 'has no host'],
    ['nbd+unix:///n', 'socket=PATH is missing'],
    ['nbd+unix:///n?socket=x', 'absolute'],
    [`nbd+unix:///n?socket=/${'x'.repeat(120)}`, 'at most 107'],
    ['nbd://h/n?timeout=0', '1 to 3600'],
    ['nbd://h/n?timeout=1.5', '1 to 3600'],
    ['nbd://h/n?connections=17', '1 to 16'],
    ['nbd://h/n?timeout=', 'no value'],
    ['nbd://h/n?timeout=1&timeout=2', 'twice'],
    ['nbd://h/n?tls=1', 'unknown parameter "tls"'],
  ])('refuses %s', (text, why) => {
    expect(parseNbdUri(text)).toEqual(expect.stringContaining(why));
  });

  it('knows two names of one export, as far as words tell', () => {
    expect(exportKey(parsed('nbd://Host/n?timeout=3'))).toBe(
      exportKey(parsed('nbd://host:10809/n')),
    );
    expect(exportKey(parsed('nbd://host/n'))).not.toBe(exportKey(parsed('nbd://host/m')));
  });
});
