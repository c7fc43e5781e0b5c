import type { Log } from '../base/ports.ts';

/** What a remote leg has to say to people. */
export class RemoteReport {
  private readonly leg: string;
  private readonly log: Log;

  constructor(leg: string, log: Log) {
    this.leg = leg;
    this.log = log;
  }

  lost(why: string): void {
    this.log.warn({ leg: this.leg, why }, 'a connection of the remote leg is lost');
  }

  givenUp(why: string, mayHaveLost: boolean): void {
    const what = mayHaveLost
      ? 'remote leg given up: writes that were not flushed may be lost'
      : 'remote leg given up';
    this.log.error({ leg: this.leg, why }, what);
  }

  isBack(): void {
    this.log.info({ leg: this.leg }, 'the remote leg is back');
  }
}
