import { mapSectorOf, STATES_PER_SECTOR } from '../../../core/mirror/native-layout.ts';
import { REGION_STATE } from '../../../core/mirror/region-map.ts';
import { at } from '../at.ts';
import type { Value } from '../content.ts';
import type { World } from '../world.ts';
import { believedLegs, fail, isQuiet, shownBy, type Checker } from './checker.ts';

export const mapCovers: Checker = {
  name: 'D3',
  sentence: 'where legs that a restart would believe may differ, each of their own maps says dirty',
  started(world) {
    if (!world.isBlind) check(world, 0, world.options.sectors, false);
  },
  opEnded(world, op) {
    if (op.isWrite) check(world, op.sector, op.sector + op.sectors, true);
  },
  idle(world) {
    check(world, 0, world.options.sectors, true);
  },
};

/**
 * Any of them may be started alone, and what it then takes for clean is never copied to the others. A
 * leg shows something now, and with `cut` perhaps something else after a power cut; so does its map.
 */
function check(world: World, start: number, end: number, cut: boolean): void {
  if (world.native === null) return;
  const legs = believedLegs(world);
  if (legs.length < 2) return;
  const { regionSectors } = world.options;
  for (let sector = start; sector < end; sector += 1) {
    if (!isQuiet(world, sector) || isOneValue(world, legs, sector, cut)) continue;
    const region = Math.floor(sector / regionSectors);
    for (const leg of legs) {
      if (isDirty(world, leg, region, cut)) continue;
      const held = heldIn(world, legs, sector, cut).join(' or ');
      fail(mapCovers, `legs ${legs.join()} hold ${held} in ${sector}, clean on leg ${leg}`);
    }
  }
}

/** They agree, and nothing else is on its way to any platter. */
function isOneValue(world: World, legs: readonly number[], sector: number, cut: boolean): boolean {
  const shown = shownBy(world, at(legs, 0), sector);
  for (const leg of legs) {
    if (shownBy(world, leg, sector) !== shown) return false;
    if (cut && !at(world.disks, leg).medium.isCertain(sector, shown)) return false;
  }
  return true;
}

function heldIn(world: World, legs: readonly number[], sector: number, cut: boolean): Value[] {
  const values = new Set<Value>();
  for (const leg of legs) {
    values.add(shownBy(world, leg, sector));
    const { medium } = at(world.disks, leg);
    if (cut) medium.eachPossible(sector, (value) => values.add(value));
  }
  return [...values];
}

function isDirty(world: World, leg: number, region: number, cut: boolean): boolean {
  const { medium, sectors } = at(world.disks, leg);
  const { native, options } = world;
  if (native === null) return false;
  const regions = Math.ceil(options.sectors / options.regionSectors);
  const index = Math.floor(region / STATES_PER_SECTOR);
  const sector = mapSectorOf(sectors, regions) + index;
  // A sector that cannot be believed is taken for the worst.
  const saysDirty = (content: Value): boolean => {
    const states = native.mapStates(leg, content, index);
    return states === null || states[region] === REGION_STATE.DIRTY;
  };
  let isEach = saysDirty(at(medium.visible, sector));
  if (cut) {
    medium.eachPossible(sector, (content) => {
      isEach &&= saysDirty(content);
    });
  }
  return isEach;
}
