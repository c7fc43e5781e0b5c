import type { Front } from './front.ts';
import { ClientLink, type Wish } from './link.ts';
import type { Style } from './format.ts';
import type { Wants } from './talk.ts';

/** How one client connects. */
export interface ClientMix extends Wants {
  readonly connections: number;
  /** Requests under way on one connection, at most. */
  readonly depth: number;
}

const PAUSES_MS = [1, 1, 20, 300] as const;

/**
 * One client: several connections, all to the same export. What it was asked to do it sees through: a
 * request without an answer is sent again, on any of its connections, as Linux's nbd and nbdkit's
 * retry filter do.
 */
export class SimClient {
  readonly front: Front;
  readonly index: number;
  readonly wants: ClientMix;
  readonly links: readonly ClientLink[];
  readonly queue: Wish[] = [];

  constructor(front: Front, index: number, wants: ClientMix) {
    this.front = front;
    this.index = index;
    this.wants = wants;
    this.links = Array.from({ length: wants.connections }, (_, i) => new ClientLink(this, i));
  }

  get style(): Style {
    return this.wants.style;
  }

  want(wish: Wish): void {
    this.queue.push(wish);
    this.pump();
  }

  /** What was not answered, or was refused and changed nothing, is asked once more. */
  askAgain({ op }: Wish, isSlow: boolean): void {
    const next = this.front.again(op);
    this.want({ ...next, isSlow });
  }

  pump(): void {
    const { front, wants } = this;
    while (this.queue.length > 0) {
      const free = this.links.filter(
        ({ standing, load }) => standing === 'ready' && load < wants.depth,
      );
      if (free.length === 0 || front.isShuttingDown) return;
      const wish = this.queue.shift();
      if (wish !== undefined) front.prng.pick(free).ask(wish);
    }
  }

  reconnect(link: ClientLink): void {
    const { clock, prng, host, isShuttingDown } = this.front;
    if (host === null || isShuttingDown) return;
    const pauseMs = prng.pick(PAUSES_MS);
    clock.in(1000 * pauseMs, () => link.connect());
  }
}
