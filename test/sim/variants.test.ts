// The swarm under every log, with legs that come and go, behind a network, and damaged under a scrub.
// With the core log's (sim.test.ts) these are 10,000 seeds.
import { PATIENCE_MS, sim } from './cli.ts';

describe('the mirror, simulated', () => {
  it.each([
    ['legs that come and go', 500, ['--legs']],
    ["the kernel's dirty log", 600, ['--log', 'disk']],
    ['that, and legs that come and go', 200, ['--legs', '--log', 'disk']],
    ['the native log', 400, ['--log', 'native']],
    ['that, and legs that come and go', 300, ['--legs', '--log', 'native']],
    ['faults in the native metadata', 35, ['--log', 'native', '--meta', '--seed', '6']],
    ['legs behind a lossy network', 500, ['--remote']],
    ['servers that come back with another content', 300, ['--remote', '--swaps']],
    ['legs that become shorter', 300, ['--cut']],
    ['damaged and lying legs under a scrub', 3500, ['--scrub']],
  ] as const)(
    'holds with %s in %i seeds',
    (_, count, args) => {
      const { status, stdout } = sim(...args, '--count', String(count), '--jobs', '1');
      expect(stdout).toMatch(new RegExp(`^${count} seeds, 0 failed`, 'm'));
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
});
