import { parseOptions } from '../../bench/options.ts';
import { SERVERS } from '../../bench/servers.ts';

describe('parseOptions', () => {
  it('has at least five rounds of the standard matrix unless told otherwise', () => {
    expect(parseOptions([])).toMatchObject({
      matrix: 'standard',
      rounds: 5,
      seconds: 3,
      sizeBytes: 2 ** 30,
      only: undefined,
      servers: SERVERS,
    });
  });

  it('makes --quick three rounds of two seconds, and lets both be changed', () => {
    expect(parseOptions(['--quick'])).toMatchObject({ matrix: 'quick', rounds: 3, seconds: 2 });
    const options = parseOptions(['--quick', '--rounds', '1', '--seconds', '0.2']);
    expect(options).toMatchObject({ rounds: 1, seconds: 0.2, warmSeconds: 0.2 });
  });

  it('reads the others', () => {
    const args = [
      '--only',
      '^a',
      '--servers',
      'nbdkit,dmiod-node',
      '--size',
      '512M',
      '--json',
      'f',
    ];
    const options = parseOptions(args);
    expect(options.only).toEqual(/^a/);
    // In the order of the columns, not of the list.
    expect(options.servers.map(({ id }) => id)).toEqual(['dmiod-node', 'nbdkit']);
    expect(options).toMatchObject({ sizeBytes: 2 ** 29, json: 'f' });
  });

  it.each([
    [['--rounds', '0'], /--rounds 0: expected a number above 0/],
    [['--rounds', '1.5'], /whole number/],
    [['--seconds', ''], /--seconds/],
    [['--only', '('], /not a regular expression/],
    [['--servers', 'nbdkit,qemu'], /--servers qemu: expected some of dmiod-uring/],
    [['--size', '1K'], /--size 1K/],
    [['--size', '8M'], /16M or more/],
    [['--quick', '--full'], /exclude each other/],
    [['--fast'], /--fast/],
    [['now'], /now/],
  ])('refuses %j', (args, message) => {
    expect(() => parseOptions(args)).toThrow(message);
  });
});
