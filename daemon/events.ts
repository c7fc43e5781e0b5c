/** What has happened to devices lately: a bounded history, for `dmio events`. */
import type { EventsReport, EventStatus } from '../core/control/status.ts';

/** Events remembered. Who follows more slowly than they come is told how many he has missed. */
const KEPT = 2000;

type NewEvent = Omit<EventStatus, 'seq' | 'time'>;

export class EventLog {
  private events: EventStatus[] = [];
  private count = 0;

  add(event: NewEvent): void {
    this.count += 1;
    this.events.push({ seq: this.count, time: new Date().toISOString(), ...event });
    if (this.events.length > KEPT) this.events = this.events.slice(-KEPT / 2);
  }

  get lastSeq(): number {
    return this.count;
  }

  /** Events behind number `after`, of one device if it is named. */
  since(after: number, name: string | undefined): EventsReport {
    const firstKept = this.count - this.events.length;
    // A number from the future is one of an earlier daemon: it has seen nothing of this one.
    const from = after > this.count ? 0 : after;
    const events = this.events.filter(
      ({ seq, device }) => seq > from && (name === undefined || device === name),
    );
    return { events, lastSeq: this.count, lost: Math.max(0, firstKept - from) };
  }
}
