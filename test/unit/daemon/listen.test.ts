import { clientUri, parseListen, socketPathError, takeListenFds } from '../../../daemon/listen.ts';

describe('a listen address', () => {
  it.each([
    ['unix:/run/x.sock', { kind: 'unix', path: '/run/x.sock' }],
    ['unix:x', { kind: 'unix', path: 'x' }],
    ['tcp:127.0.0.1:10809', { kind: 'tcp', host: '127.0.0.1', port: 10809 }],
    ['tcp:host.example:0', { kind: 'tcp', host: 'host.example', port: 0 }],
    ['tcp:[::1]:65535', { kind: 'tcp', host: '::1', port: 65535 }],
  ])('%s', (text, address) => {
    expect(parseListen(text)).toEqual(address);
  });

  it.each([
    '',
    'unix:',
    '/run/x',
    'tcp:',
    'tcp:h',
    'tcp:h:',
    'tcp::1',
    'tcp:h:65536',
    'tcp:::1:9',
    'udp:h:1',
    'tcp:h:1x',
    `unix:/${'x'.repeat(107)}`,
    'unix:/a\0b',
  ])('is not: %j', (text) => {
    expect(parseListen(text)).toBeUndefined();
  });

  it('gives clients a place to go', () => {
    expect(clientUri({ kind: 'unix', path: '/run/x.sock' }, 'a b')).toBe(
      'nbd+unix:///a%20b?socket=/run/x.sock',
    );
    expect(clientUri({ kind: 'tcp', host: '0.0.0.0', port: 7 }, 'x')).toBe('nbd://127.0.0.1:7/x');
    expect(clientUri({ kind: 'tcp', host: '::', port: 7 }, 'x')).toBe('nbd://[::1]:7/x');
    expect(clientUri({ kind: 'fd', fd: 3 }, 'x')).toBeNull();
  });

  it('fits into sun_path', () => {
    expect(socketPathError('x'.repeat(107))).toBeUndefined();
    expect(socketPathError('ö'.repeat(54))).toContain('108 bytes');
  });
});

describe('LISTEN_FDS', () => {
  it.each([
    [{}, []],
    [{ LISTEN_FDS: '2', LISTEN_PID: '42' }, [{ fd: 3 }, { fd: 4 }]],
    [{ LISTEN_FDS: '1' }, [{ fd: 3 }]],
    [
      { LISTEN_FDS: '3', LISTEN_FDNAMES: 'local:unknown:far' },
      [{ fd: 3, name: 'local' }, { fd: 4 }, { fd: 5, name: 'far' }],
    ],
    [{ LISTEN_FDS: '2', LISTEN_FDNAMES: 'one' }, [{ fd: 3, name: 'one' }, { fd: 4 }]],
    [{ LISTEN_FDS: '1', LISTEN_PID: '41', LISTEN_FDNAMES: 'one' }, []],
    [{ LISTEN_FDS: '2', LISTEN_PID: '41' }, []],
    [{ LISTEN_FDS: 'x', LISTEN_PID: '42' }, []],
    [{ LISTEN_FDS: '0', LISTEN_PID: '42' }, []],
  ] as const)('%j is %j, and gone from the environment', (given, fds) => {
    const environment: NodeJS.ProcessEnv = { ...given };
    const expected = fds.map((one) => ({ kind: 'fd', ...one }));
    expect(takeListenFds(environment, 42)).toEqual(expected);
    expect(environment).toEqual({});
  });
});
