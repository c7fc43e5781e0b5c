/** Grows with every connection and every loss, so that it can be said which was first. */
let serials = 0;

export function nextSerial(): number {
  serials += 1;
  return serials;
}

/** Who sends requests and is owed the truth about them: a connection of a client. */
export class Issuer {
  readonly born = nextSerial();
}

/**
 * What a bio carries of the request it belongs to, handed on to every bio that comes of it: who sent
 * it, and who still uses its memory. A device that does not answer in time is given up; it may read or
 * write the memory all the same, until it says so. So memory with users is nobody else's: what was
 * read into it is worth nothing, and it is free when the last user has gone. A read that failed for it
 * is asked again, also where the device has answered by the time the client would hear of the error.
 */
export class Loan {
  readonly issuer: Issuer;
  private count = 0;
  private wasLent = false;
  private whenFree: (() => void) | null = null;

  constructor(issuer: Issuer) {
    this.issuer = issuer;
  }

  /** Somebody was given up on who may still use the memory. */
  get isOut(): boolean {
    return this.count > 0;
  }

  /** Somebody was given up on, whether or not he has ended since. */
  get wasOut(): boolean {
    return this.wasLent;
  }

  lend(): void {
    this.count += 1;
    this.wasLent = true;
  }

  /** All who were given up on have ended: the memory is used afresh. */
  renew(): void {
    this.wasLent = false;
  }

  giveBack(): void {
    this.count -= 1;
    const { whenFree } = this;
    if (this.count > 0 || whenFree === null) return;
    this.whenFree = null;
    whenFree();
  }

  /** The request is over. `free` is called when nobody uses its memory any more; there is somebody now. */
  leave(free: () => void): void {
    this.whenFree = free;
  }
}
