import { fail, type Checker } from './checker.ts';

export const resources: Checker = {
  name: 'I18',
  sentence:
    'at idle nothing is held: no bio, no record, no claim, and no timers but of a retry, of paces, of a last look',
  idle(world) {
    const { set } = world.daemon;
    const spare = (set.regionLog.isArmed ? 1 : 0) + (world.options.legTimeoutMs > 0 ? 1 : 0);
    const held: Readonly<Record<string, number>> = {
      bios: set.client.biosInFlight,
      'requests waiting': set.client.requestsWaiting,
      reads: set.reads.inUse,
      writes: set.writes.inUse,
      claims: set.lock.length,
      'dirty regions': set.pending.dirty,
      'pending reads': set.legs.reduce((sum, leg) => sum + leg.pendingReads, 0),
      'requests at legs': set.legs.reduce((sum, leg) => sum + leg.inFlight, 0),
      'legs on their way out': set.leaving.length + set.departing.length,
      'bios at remote legs': world.sites.reduce((n, site) => n + (site?.device?.inFlight ?? 0), 0),
      transfers: world.disks.reduce((sum, disk) => sum + disk.inFlight, 0),
      'timers but three': Math.max(0, world.clock.timers - 3 - spare),
    };
    for (const [what, count] of Object.entries(held)) {
      if (count !== 0) fail(resources, `${count} ${what} at idle`);
    }
  },
  converged(world) {
    if (world.clock.timers !== 0) fail(resources, 'a timer with nothing to do');
  },
};
