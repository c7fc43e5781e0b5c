// A leg that another server serves: core/remote unmodified, between the mirror and a simulated disk
// behind a simulated network. Connecting and fencing are here what daemon/remote does with sockets.
import { ERRNO } from '../../../core/base/errno.ts';
import { SILENT_LOG } from '../../../core/base/ports.ts';
import type { Prng } from '../../../core/base/prng.ts';
import { Bio } from '../../../core/block/bio.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { Loop, type Completion } from '../../../core/block/loop.ts';
import { RemoteDevice } from '../../../core/remote/device.ts';
import { RemoteLink } from '../../../core/remote/link.ts';
import type { Remembered } from '../../../core/remote/witness.ts';
import { RemoteReport } from '../../../core/remote/report.ts';
import type { SimClock } from '../clock.ts';
import type { SimDisk } from '../disk.ts';
import { ZEROS } from '../content.ts';
import { SimFailure } from '../failure.ts';
import { SimLink } from './link.ts';
import { SimServer } from './server.ts';

/** As daemon/remote: after a server has ended a connection, and after the network has. */
const SETTLE_MS = 500;
const BLIND_MS = 60_000;
/** How long a server that died is away. */
const DOWN_MS = [1, 50, 1000, 8000];
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
/** A request ends by its time-out, an eighth more, and what it takes to let go of its memory. */
const LATE = 9 / 8;
const LETTING_GO_MS = 50;

export interface RemoteOptions {
  readonly links: number;
  readonly timeoutMs: number;
  /** Servers come back with what they held long ago, or with nothing. */
  readonly swaps: boolean;
}

/** The loop a device defers its ends to: sees that every bio ends once, and in time. */
class WatchedLoop extends Loop {
  private readonly from: Loop;
  private readonly onEnd: (bio: Bio) => void;

  constructor(from: Loop, onEnd: (bio: Bio) => void) {
    super({ wake: () => undefined, block: () => false });
    this.from = from;
    this.onEnd = onEnd;
  }

  override get isRunning(): boolean {
    return this.from.isRunning;
  }

  override defer(completion: Completion): void {
    if (completion instanceof Bio) this.onEnd(completion);
    this.from.defer(completion);
  }
}

/** The place of a remote leg: its server, which outlives daemons, and what one daemon has of it. */
export class RemoteSite {
  readonly server: SimServer;
  /** The server has lost what its cache held, and the mirror has not put the leg out since. */
  hasLost = false;
  device: RemoteDevice | null = null;
  /**
   * What a failed flush has lost is shown as before also by the next process of the server: without a
   * good copy to compare it with nobody could have it back.
   */
  keepsCache = false;
  /** Told of each bio that the mirror sends to the leg. */
  onSubmit: ((bio: Bio) => void) | null = null;
  private readonly options: RemoteOptions;
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private readonly say: (line: () => string) => void;
  /** By slot: the connection in use. */
  private readonly used = new Map<number, SimLink>();
  private readonly calledMs = new Map<Bio, number>();
  private unfenced = 0;
  /** What the export held when another content took its place; null: it is in its place. */
  private displaced: Uint32Array | null = null;
  /** What the platter held at some time. */
  private readonly images: Uint32Array[] = [];
  /** The worst moment to lose power: a flush has just been answered. */
  private isDoomed = false;
  /** Openings of the leg: what belongs to an earlier one is not for this one. */
  private opening = 0;

  constructor(
    disk: SimDisk,
    options: RemoteOptions,
    clock: SimClock,
    prng: Prng,
    say: (line: () => string) => void,
  ) {
    this.options = options;
    this.clock = clock;
    this.prng = prng;
    this.say = say;
    this.server = new SimServer(disk, clock, prng);
  }

  private get name(): string {
    return this.server.disk.name;
  }

  /** The machine of the server is there when a daemon starts. */
  begin(loop: Loop, believed: boolean): RemoteDevice {
    this.unfenced = 0;
    this.isDoomed = false;
    this.hasLost = false;
    this.used.clear();
    this.device = null;
    this.server.start(believed);
    return this.open(loop);
  }

  /** As in daemon/remote: what is known of it for who opens it again; nothing: it is copied whole. */
  get remembered(): readonly Remembered[] {
    return this.device === null || this.device.isStale ? [] : this.device.remember();
  }

  /** It holds less than the mirror can know, or something else. */
  get mayLack(): boolean {
    return this.hasLost || this.isDisplaced;
  }

  get isDisplaced(): boolean {
    return this.displaced !== null;
  }

  /** May it be opened afresh: reachable, and nothing of an earlier opening can take effect? */
  get mayOpen(): boolean {
    return this.server.isUp && this.unfenced === 0;
  }

  /** A leg that is out is opened again: a new device on new connections. */
  open(loop: Loop): RemoteDevice {
    const { remembered } = this;
    // Copied whole: what it held before counts no more.
    if (remembered.length === 0) this.displaced = null;
    this.close();
    this.hasLost = false;
    this.opening += 1;
    this.calledMs.clear();
    const { opening } = this;
    const { links, timeoutMs } = this.options;
    const watched = new WatchedLoop(loop, (bio) => this.bioEnded(bio));
    const device = new RemoteDevice({
      name: this.name,
      facts: this.server.facts,
      readOnly: false,
      timeoutMs,
      links,
      loop: watched,
      // Its tick is the world's: the set has no part in it.
      clock: {
        nowMs: () => this.clock.nowMs(),
        after: (ms, fire) => {
          this.clock.in(ms * 1000, fire);
          return { cancel: () => undefined };
        },
      },
      report: new RemoteReport(this.name, SILENT_LOG),
      remembered,
      host: {
        connect: (slot) => this.connect(opening, slot, FIRST_PAUSE_MS),
        fence: (link) => this.fence(opening, link),
      },
    });
    this.device = device;
    this.watch(device);
    this.connected(0);
    for (let slot = 1; slot < links; slot += 1) this.connect(opening, slot, FIRST_PAUSE_MS);
    return device;
  }

  /** What the device does not answer in time is a law broken. */
  private watch(device: RemoteDevice): void {
    const submit = device.submit.bind(device);
    device.submit = (bio: Bio): void => {
      this.onSubmit?.(bio);
      this.calledMs.set(bio, this.clock.nowMs());
      submit(bio);
    };
  }

  private bioEnded(bio: Bio): void {
    const called = this.calledMs.get(bio);
    if (called === undefined) throw new SimFailure('endings', `${this.name}: a bio ended twice`);
    this.calledMs.delete(bio);
    if (this.isDoomed && bio.op === REQ_OP.FLUSH && this.server.isUp) {
      this.isDoomed = false;
      this.clock.in(1, () => this.serverDies(true, 50));
    }
    const { disk } = this.server;
    // A remote leg ends by its own time-out what its server is too slow for, also as the last one.
    if (bio.error === ERRNO.ETIMEDOUT && disk.hasBeenSlow) disk.struckAt = disk.step();
    const took = this.clock.nowMs() - called;
    const longest = this.options.timeoutMs * LATE + LETTING_GO_MS;
    if (took > longest) {
      const words = `a request took ${took.toFixed(0)} ms, at most ${longest.toFixed(0)} are allowed`;
      throw new SimFailure('I14', `${this.name}: ${words}`);
    }
  }

  /** Nothing of the daemon is under way: it closes its connections, softly. */
  private close(): void {
    for (const { connection } of this.used.values()) connection.toServer.end('by the other side');
    this.used.clear();
    this.device = null;
  }

  // --- connecting

  private connect(opening: number, slot: number, pauseMs: number): void {
    const { prng } = this;
    const wayMs = 0.1 + prng.below(1000) / 1000;
    this.clock.in(wayMs * 1000, () => {
      if (opening !== this.opening) return;
      if (this.server.isUp && !prng.ratio(1, 5)) {
        this.connected(slot);
        return;
      }
      // An attempt that the client gave up: the server may have taken it all the same.
      if (this.server.isUp && prng.ratio(1, 2)) this.server.accept().loseSight();
      this.clock.in(pauseMs * 1000, () => {
        this.connect(opening, slot, Math.min(2 * pauseMs, LONGEST_PAUSE_MS));
      });
    });
  }

  private connected(slot: number): void {
    const { device, server } = this;
    if (device === null) return;
    const connection = server.accept();
    const link = new RemoteLink(slot, device, server.facts.isStructured);
    this.used.set(slot, new SimLink(link, connection, this.clock, this.prng));
    this.say(() => `net: ${this.name} connection ${slot}`);
    device.connected(link);
  }

  // --- fencing

  private fence(opening: number, link: RemoteLink): void {
    const lost = this.used.get(link.slot);
    if (lost?.link !== link) {
      // Closed with its device: nothing was under way on it.
      return;
    }
    this.used.delete(link.slot);
    this.unfenced += 1;
    const over = (how: string): void => {
      const waitMs = how === 'by the other side' ? SETTLE_MS : BLIND_MS;
      const isOver = this.server.disk.whenOver();
      const fenced = (): void => {
        // Out of sight: that a disk takes no longer is an assumption (daemon/remote), and held here.
        if (how !== 'by the other side' && !isOver()) {
          this.clock.in(SETTLE_MS * 1000, fenced);
          return;
        }
        this.unfenced -= 1;
        this.say(() => `net: ${this.name} connection ${link.slot} is fenced`);
        if (opening === this.opening) this.device?.fenced(link.slot);
      };
      this.clock.in(waitMs * 1000, fenced);
    };
    if (lost.end !== null) over(lost.end);
    else lost.onEnd = () => over(lost.end ?? 'out of sight');
  }

  // --- what can happen to it

  /** Returns what, for the trace. */
  disturb(prng: Prng, mayLose: boolean): string {
    const { server } = this;
    if (!server.isUp) return 'nothing';
    if (this.options.swaps) this.keepImage();
    const isSwap = mayLose && this.options.swaps && prng.ratio(1, 2);
    const last = isSwap ? 'swap' : mayLose ? 'power' : 'die';
    const what = prng.pick(['stall', 'stall', 'close', 'blind', 'die', last] as const);
    switch (what) {
      case 'stall': {
        const ms = prng.pick([1, 20, 300, 3000, 20_000]);
        for (const { connection } of server.connections) connection.stall(ms * 1000);
        return `stalls ${ms} ms`;
      }
      case 'close': {
        const services = [...server.connections];
        if (services.length === 0) return 'nothing';
        const { slowness, stallUs } = server.disk.faults;
        const isQuick = slowness === 1 && prng.ratio(1, 2) && stallUs === 0;
        const how = isQuick ? 'closes before they have ended' : 'waits for its requests';
        prng.pick(services).part(how);
        return `a connection closes, ${how}`;
      }
      case 'blind': {
        const services = [...server.connections];
        if (services.length === 0) return 'nothing';
        const { connection } = prng.pick(services);
        const us = 1000 * prng.pick([1, 20, 300, 3000]);
        connection.stall(us);
        // What is sent until then is on its way, and arrives after the client has given up.
        this.clock.in(us / 2, () => connection.loseSight());
        return 'a connection goes out of sight';
      }
      case 'power':
        if (prng.ratio(1, 2)) {
          this.isDoomed = true;
          return 'loses power at the next flush';
        }
        this.serverDies(true, prng.pick(DOWN_MS));
        return 'loses power';
      case 'swap':
        return this.swap(prng);
      case 'die':
        this.serverDies(false, prng.pick(DOWN_MS));
        return 'is killed';
    }
  }

  private keepImage(): void {
    this.images.push(this.server.disk.medium.durable.slice());
  }

  /** Its machine is set up anew, or put back to an earlier day. */
  private swap(prng: Prng): string {
    const { disk } = this.server;
    this.serverDies(true, prng.pick(DOWN_MS));
    const { medium } = disk;
    // Once more: the right content is what it held the first time, and what was written since.
    const held = this.displaced === null ? medium.durable.slice() : medium.over(this.displaced);
    this.displaced = held;
    medium.track();
    const isEmpty = prng.ratio(1, 3);
    const image = isEmpty ? held.map(() => ZEROS) : prng.pick(this.images);
    if (image.every((value, i) => value === held[i])) this.displaced = null;
    medium.putBack(image);
    return isEmpty ? 'comes back empty' : 'comes back as it was long ago';
  }

  private serverDies(power: boolean, downMs: number): void {
    if (!this.server.isUp) return;
    this.server.die(power);
    // The reply of the flush that failed may be on its way still.
    if (power || (this.server.disk.medium.isDoomed && !this.keepsCache)) this.hasLost = true;
    this.clock.in(downMs * 1000, () => {
      if (this.server.isUp) return;
      this.server.start(this.keepsCache);
      this.say(() => `net: ${this.name} is up again`);
    });
  }

  /** Trouble is over: whoever is down comes up. */
  heal(): void {
    this.isDoomed = false;
    if (!this.server.isUp) this.server.start(this.keepsCache);
  }

  /** The daemon has died; what it had sent and was not done has landed, or not. */
  daemonDied(): void {
    this.server.connections.clear();
    this.opening += 1;
    this.used.clear();
    this.device = null;
    this.calledMs.clear();
    // The next daemon has nothing to know it by: the right content is there again by then.
    const { medium } = this.server.disk;
    if (this.displaced !== null) medium.putBack(medium.over(this.displaced));
    this.displaced = null;
  }
}
