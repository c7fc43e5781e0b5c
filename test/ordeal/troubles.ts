// What can happen to a mirror in a round. Each trouble makes it happen and, when it ends, has put
// everything back so that the mirror can be in sync again by its own means or its operator's.
import { setTimeout as sleep } from 'node:timers/promises';

import type { Prng } from '../../core/base/prng.ts';
import type { DeviceStatus } from '../../core/control/status.ts';
import { LIMIT_SECONDS, type OrdealLeg } from './legs.ts';

export interface Site {
  readonly prng: Prng;
  /** The legs of the mirror, in its order, and one that is none. */
  readonly legs: OrdealLeg[];
  spare: OrdealLeg;
  /** `dmio ARGS...`: what it printed. @throws when it ends with anything but 0 */
  dmio(...args: readonly string[]): Promise<string>;
  status(): Promise<DeviceStatus>;
  killDaemon(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  startDaemon(): Promise<void>;
}

type Trouble = (site: Site) => Promise<void>;

const NAME = 'data';
const WAIT = ['--timeout', String(LIMIT_SECONDS)];

export const TROUBLES: Readonly<Record<string, Trouble>> = {
  'kill -9': async (site) => {
    await site.killDaemon('SIGKILL');
    await sleep(site.prng.below(300));
    await site.startDaemon();
  },
  'stop and start': async (site) => {
    await site.killDaemon('SIGTERM');
    await site.startDaemon();
  },
  'kill -9 with a leg gone': async (site) => {
    const leg = anyLeg(site);
    await leg.kill();
    await sleep(site.prng.below(500));
    await site.killDaemon('SIGKILL');
    await site.startDaemon();
    await sleep(site.prng.below(500));
    await leg.heal();
    await bringBack(site, leg);
  },
  'a leg gone and back': async (site) => {
    const leg = anyLeg(site);
    await leg.kill();
    await sleep(500 + site.prng.below(1000));
    await leg.heal();
    await bringBack(site, leg);
  },
  'a leg with errors': async (site) => {
    const leg = anyLeg(site);
    leg.fail();
    await sleep(500 + site.prng.below(1000));
    await leg.heal();
    await bringBack(site, leg);
  },
  'a leg full': async (site) => {
    const leg = anyLeg(site);
    leg.fill();
    await sleep(300 + site.prng.below(700));
    await leg.heal();
    await bringBack(site, leg);
  },
  'a leg slow': async (site) => {
    const leg = anyLeg(site);
    leg.slow();
    await sleep(1000);
    await leg.heal();
  },
  'a leg failed by hand': async (site) => {
    const leg = anyLeg(site);
    await site.dmio('leg', 'fail', NAME, leg.path);
    await sleep(site.prng.below(500));
    await bringBack(site, leg);
  },
  'a leg removed and added': async (site) => {
    const leg = anyLeg(site);
    await site.dmio('leg', 'remove', NAME, leg.path);
    await sleep(site.prng.below(300));
    await site.dmio('leg', 'add', NAME, leg.path, '--force');
  },
  replace: async (site) => {
    const at = site.prng.below(site.legs.length);
    const old = site.legs[at];
    if (old === undefined) throw new Error('no such leg');
    await site.dmio('leg', 'replace', NAME, old.path, site.spare.path, '--force');
    site.legs[at] = site.spare;
    site.spare = old;
    await untilGone(site, old);
  },
  scrub: async (site) => {
    await site.dmio('wait', NAME, '--in-sync', ...WAIT);
    await site.dmio('scrub', NAME);
  },
  'suspend and resume': async (site) => {
    await site.dmio('suspend', NAME);
    await sleep(site.prng.below(400));
    await site.dmio('resume', NAME);
  },
  reload: async (site) => {
    const line = (await site.dmio('table', NAME)).replace(/^[^:]*: /, '').trim();
    await site.dmio('reload', NAME, '--table', line);
    await site.dmio('suspend', NAME);
    await site.dmio('resume', NAME);
  },
};

function anyLeg(site: Site): OrdealLeg {
  const leg = site.legs[site.prng.below(site.legs.length)];
  if (leg === undefined) throw new Error('no legs');
  return leg;
}

/** By the daemon itself, or else by hand; one that is in is left alone. */
async function bringBack(site: Site, leg: OrdealLeg): Promise<void> {
  const found = (await site.status()).legs.find((each) => each.leg === leg.path);
  if (found === undefined) throw new Error(`${leg.path} is no leg any more`);
  if (found.state === 'in-sync' || found.state === 'resyncing') return;
  await site.dmio('leg', 're-add', NAME, leg.path);
}

/** A replaced leg leaves when the new one is in sync. */
async function untilGone(site: Site, leg: OrdealLeg): Promise<void> {
  const end = Date.now() + LIMIT_SECONDS * 1000;
  for (;;) {
    const { legs } = await site.status();
    if (legs.every((each) => each.leg !== leg.path)) return;
    if (Date.now() > end) throw new Error(`${leg.path} is still there after ${LIMIT_SECONDS} s`);
    await sleep(50);
  }
}
