import { assert } from '../base/assert.ts';
import { RUN, ZeroQuery, type Run, type ZeroQueryOwner } from '../block/run.ts';
import type { Leg } from './leg.ts';

/** Who copies a range, and wants to know what of it need not be read. */
export interface ZeroMapOwner {
  /** All legs that were asked have answered. From the loop. */
  zeroesAnswered(): void;
}

/**
 * What reads as zeros in a range of some legs: files say so at once, servers must be asked. The owner
 * holds a claim on the range that keeps writes out for as long as it believes the answers.
 */
export class ZeroMap {
  private readonly owner: ZeroMapOwner;
  private readonly asked: AskedLeg[] = [];
  private count = 0;
  private pending = 0;

  constructor(owner: ZeroMapOwner) {
    this.owner = owner;
  }

  /** False: nobody had to be asked, and nobody is told. Answers to earlier questions are forgotten. */
  ask(legs: readonly Leg[], sector: number, sectors: number): boolean {
    assert(this.pending === 0, 'a zero map is asked twice');
    this.count = 0;
    for (const leg of legs) {
      if (leg.device?.askZeroes === undefined) continue;
      const asked = (this.asked[this.count] ??= new AskedLeg(this));
      this.count += 1;
      this.pending += 1;
      asked.start(leg, sector, sectors);
    }
    return this.pending > 0;
  }

  /** What is known of the sectors from `sector` on: ZERO, or not; 1 .. `sectors` of them. */
  runAt(leg: Leg, sector: number, sectors: number, run: Run): void {
    for (let i = 0; i < this.count; i += 1) {
      const asked = this.asked[i];
      if (asked?.leg === leg) {
        asked.query.runAt(leg.startSector + sector, sectors, run);
        return;
      }
    }
    const { device } = leg;
    if (device?.allocationAt === undefined) run.set(sectors, RUN.DATA);
    else device.allocationAt(leg.startSector + sector, sectors, run);
  }

  answered(): void {
    this.pending -= 1;
    if (this.pending === 0) this.owner.zeroesAnswered();
  }
}

class AskedLeg implements ZeroQueryOwner {
  leg: Leg | null = null;
  readonly query: ZeroQuery;
  private readonly map: ZeroMap;

  constructor(map: ZeroMap) {
    this.map = map;
    this.query = new ZeroQuery(this);
  }

  start(leg: Leg, sector: number, sectors: number): void {
    assert(leg.device?.askZeroes !== undefined, 'a leg was asked that cannot answer');
    this.leg = leg;
    this.query.sector = leg.startSector + sector;
    this.query.sectors = sectors;
    leg.enter();
    leg.device.askZeroes(this.query);
  }

  zeroesKnown(): void {
    assert(this.leg !== null, 'an answer about no leg');
    this.leg.leave();
    // What left the set meanwhile may not be believed.
    if (!this.leg.isActive) this.query.count = 0;
    this.map.answered();
  }
}
