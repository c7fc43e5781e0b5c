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
    const defaults = { timeoutMs: 10_000, connections: 2 };
    expect(parseNbdUri(text)).toEqual({ address, exportName, ...defaults });
  });

  it('reads its own parameters', () => {
    const uri = parsed('nbd://h/n?timeout=3&connections=4');
    expect([uri.timeoutMs, uri.connections]).toEqual([3000, 4]);
  });

  it.each([
    ['nbd:/h/n', 'expected nbd://'],
    ['http://h/n', 'expected nbd://'],
    ['nbds://h/n', 'TLS'],
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
