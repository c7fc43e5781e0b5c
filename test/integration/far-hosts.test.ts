// Mirrors of one leg here and two on other hosts, under writers that remember what they were told, while
// cables are pulled, packets lost, peers switched off or silent. The stories are played all at once,
// each with a mirror and a troubled host of its own; the tests say what must have come of them.
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { Prng } from '../../core/base/prng.ts';
import type {
  DeviceStatus,
  LegStatus,
  StatsReport,
  StatusReport,
} from '../../core/control/status.ts';
import { TestAuthority } from '../support/certificates.ts';
import { ClockedReader } from '../support/clocked-reader.ts';
import { FarNetwork, type FarHost, type FarServer } from '../support/far-hosts.ts';
import { DAEMON_ARGS, isReady } from '../support/programs.ts';
import { runBeside, type Ran } from '../support/run.ts';
import { DMIO, Running } from '../support/running.ts';
import { TagBook, TaggedWriter } from '../support/tagged-writer.ts';
import { tempDirectory } from '../support/temp.ts';

const MIB = 2 ** 20;
const SIZE = 32 * MIB;
/** Where the writers write: what a leg misses is at most this, and what surrounds it. */
const WRITTEN = 4 * MIB;
const REGION = 64 * 1024;
/** Of legs with trouble; the others have time for anything. */
const TIMEOUT_S = 3;
const PATIENT_S = 300;
/** A request may take the time-out and an eighth, and then waits for the record of who has left. */
const LATEST_MS = TIMEOUT_S * 1125;
/**
 * What that record, the daemon and a machine with other work make of it: as often as long as the longest
 * answer of a mirror without far legs in the same daemon, whose leg is failed and added again all the time.
 */
const CALM_TIMES = 3;
const LEAST_CALM_MS = 500;
const NEVER_MS = 150_000;
const PACE = { depth: 4, pauseMs: 4 };
const READ_PAUSE_MS = 5;
const PORT = 10809;

const folder = tempDirectory();
let network: FarNetwork;
let daemon: Running;
/** A server that nothing happens to. */
let steady: FarServer;
let keys: { readonly server: string; readonly client: string };

/** What is seen of a story, and what the tests judge. */
interface Seen {
  /** States of the legs while the trouble was on, and in the end. */
  readonly during: readonly string[];
  readonly after: readonly string[];
  /** Acknowledged while the trouble was on. */
  readonly acknowledgedDuring: number;
  readonly lackedBytes: number;
  readonly copiedBytes: number;
  readonly farReadBytes: number;
  /** Of all answers to writers and to the reader. */
  readonly longestMs: number;
  readonly reads: number;
  readonly errors: number;
  readonly wrong: readonly string[];
  readonly legsEqual: boolean;
  /** A re-add while the trouble was on. */
  readonly early: Ran | null;
}

const dmio = (...args: readonly string[]): Promise<Ran> =>
  runBeside(folder, process.execPath, DMIO, '--control', 'control.sock', ...args);

async function ok(...args: readonly string[]): Promise<string> {
  const ran = await dmio(...args);
  if (ran.code !== 0) throw new Error(`dmio ${args.join(' ')}: ${ran.stderr}`);
  return ran.stdout;
}

async function statusOf(name: string): Promise<DeviceStatus> {
  const { devices } = JSON.parse(await ok('status', name, '--json')) as StatusReport;
  const [device] = devices;
  if (device === undefined) throw new Error(`${name} is gone`);
  return device;
}

const isFailed = ({ state }: LegStatus): boolean => state === 'failed';
const isInSync = ({ state }: LegStatus): boolean => state === 'in-sync';

async function answered(writer: TaggedWriter, more: number): Promise<void> {
  const goal = writer.acknowledged + more;
  const end = performance.now() + NEVER_MS;
  while (writer.acknowledged < goal) {
    if (writer.isEnded || performance.now() > end) throw new Error('a writer is not answered');
    await sleep(20);
  }
}

/** A mirror NAME of NAME.img here, a leg on the troubled host, and one on the steady host. */
class Story {
  readonly name: string;
  readonly far: string;
  private readonly book = new TagBook(WRITTEN);
  private readonly writers: TaggedWriter[] = [];
  private reader: ClockedReader | null = null;
  private seed = 0;

  constructor(name: string, far: string, timeoutS = TIMEOUT_S) {
    this.name = name;
    this.far = `${far}${far.includes('?') ? '&' : '?'}timeout=${timeoutS}`;
  }

  get legs(): readonly string[] {
    return [`${this.name}.img`, this.far, `${steady.uri}/${this.name}?timeout=${PATIENT_S}`];
  }

  async create(...more: readonly string[]): Promise<void> {
    await ok(
      ...['create', this.name, '--mirror', ...this.legs, '--size', String(SIZE), '--assume-clean'],
      ...['--region-size', String(REGION), ...more],
    );
    // What the leg cannot be read of it lacks, too: that is among what is written.
    const at = { socket: join(folder, 'nbd.sock'), name: this.name, bytes: WRITTEN };
    this.reader = await ClockedReader.start(at, new Prng(1), READ_PAUSE_MS);
  }

  async write(): Promise<TaggedWriter> {
    this.seed += 1;
    const socket = join(folder, 'nbd.sock');
    const writer = await TaggedWriter.start(
      ...([socket, this.name, this.book, new Prng(this.seed), PACE] as const),
    );
    this.writers.push(writer);
    return writer;
  }

  /** So many writes, each answered. */
  async writeSome(count: number): Promise<void> {
    const writer = await this.write();
    await answered(writer, count);
    await writer.stop();
  }

  status(): Promise<DeviceStatus> {
    return statusOf(this.name);
  }

  async states(): Promise<readonly string[]> {
    return (await this.status()).legs.map(({ state }) => state);
  }

  readd(): Promise<Ran> {
    return dmio('leg', 're-add', this.name, this.far);
  }

  /** The troubled leg is as `isSo` says. */
  async until(isSo: (leg: LegStatus) => boolean): Promise<LegStatus> {
    const end = performance.now() + NEVER_MS;
    for (;;) {
      const leg = (await this.status()).legs[1];
      if (leg !== undefined && isSo(leg)) return leg;
      if (performance.now() > end) throw new Error(`${this.name}: stays ${JSON.stringify(leg)}`);
      await sleep(200);
    }
  }

  /** Bytes the troubled leg was given, and asked for. */
  async moved(): Promise<{ readonly written: number; readonly read: number }> {
    const report = JSON.parse(await ok('--json', 'stats', this.name)) as StatsReport;
    const io = report.devices[0]?.legs[1]?.io;
    if (io === undefined) throw new Error(`${this.name} has no such leg`);
    return { written: io.write.bytes + io.zeroes.bytes, read: io.read.bytes };
  }

  async stopReading(): Promise<ClockedReader> {
    const { reader } = this;
    if (reader === null) throw new Error(`${this.name} was never created`);
    await reader.stop();
    return reader;
  }

  /** The verdict of the writers, and of the bytes on all legs. */
  async end(part: Partial<Seen>): Promise<Seen> {
    const reader = await this.stopReading();
    const copy = `${this.name}.copy`;
    const uri = `nbd+unix:///${this.name}?socket=${join(folder, 'nbd.sock')}`;
    const ran = await runBeside(folder, 'nbdcopy', '--flush', uri, copy);
    if (ran.code !== 0) throw new Error(`nbdcopy: ${ran.stderr}`);
    const files = [copy, `${this.name}.img`, `far/${this.name}`, `steady/${this.name}`];
    const [image, ...others] = files.map((file) => readFileSync(join(folder, file)));
    return {
      during: [],
      acknowledgedDuring: 0,
      lackedBytes: 0,
      copiedBytes: 0,
      early: null,
      after: await this.states(),
      farReadBytes: (await this.moved()).read,
      longestMs: Math.max(...[...this.writers, reader].map(({ longestMs }) => longestMs)),
      reads: reader.answered,
      errors: this.writers.reduce((sum, { errors }) => sum + errors.size, reader.errors),
      wrong: this.book.wrongIn(image ?? Buffer.alloc(0)),
      legsEqual: others.every((other) => image?.equals(other) === true),
      ...part,
    };
  }
}

/** Trouble that puts the leg out; then its end, and the leg comes back by itself. */
async function outAndBack(
  story: Story,
  trouble: () => Promise<void> | void,
  relief: () => Promise<void> | void,
  ...more: readonly string[]
): Promise<Seen> {
  await story.create(...more);
  const writer = await story.write();
  await answered(writer, 50);
  // On a machine with other work the leg may have been out by itself, and be on its way back.
  await story.until(isInSync);
  await trouble();
  await story.until(isFailed);
  const before = writer.acknowledged;
  await answered(writer, 50);
  const during = await story.states();
  await writer.stop();
  const acknowledgedDuring = writer.acknowledged - before;
  const early = await story.readd();
  const lackedBytes = (await story.status()).legs[1]?.outOfSyncBytes ?? 0;
  const { written } = await story.moved();
  await relief();
  await story.until(isInSync);
  const copiedBytes = (await story.moved()).written - written;
  await story.writeSome(50);
  return story.end({ during, acknowledgedDuring, early, lackedBytes, copiedBytes });
}

const file = (name: string): string => join(folder, 'far', name);

function nbdkit(host: FarHost, name: string): FarServer {
  const where = ['-p', String(PORT), '-i', host.address];
  return host.server(PORT, folder, 'nbdkit', '-f', ...where, 'file', file(name));
}

function qemuNbd(host: FarHost, name: string): FarServer {
  const more = ['--persistent', '--shared=0', '--format=raw', '--discard=unmap'];
  const where = ['-b', host.address, '-p', String(PORT)];
  return host.server(PORT, folder, 'qemu-nbd', ...more, ...where, file(name));
}

function otherDmiod(host: FarHost, name: string): FarServer {
  const serve = [DMIO, 'serve', '--linear', file(name), '--name', 'data', '--allow-plain-tcp'];
  const where = ['--bind', host.address, '--port', String(PORT)];
  return host.server(PORT, folder, process.execPath, ...serve, ...where);
}

const STORIES: Readonly<Record<string, (host: FarHost) => Promise<Seen>>> = {
  cable: async (host) => {
    const server = await nbdkit(host, 'cable').start();
    const story = new Story('cable', `${server.uri}/`);
    return outAndBack(
      story,
      () => host.pullCable(),
      () => host.plugIn(),
      ...['--write-mostly', ...story.legs.slice(1)],
    );
  },
  silence: async (host) => {
    const server = await qemuNbd(host, 'silence').start();
    const story = new Story('silence', `${server.uri}/`);
    return outAndBack(
      story,
      () => host.lose(1),
      () => host.loseNothing(),
    );
  },
  secret: async (host) => {
    const tls = ['--tls=require', `--tls-certificates=${keys.server}`, '--tls-verify-peer'];
    const where = ['-p', String(PORT), '-i', host.address, ...tls];
    const server = host.server(PORT, folder, 'nbdkit', '-f', ...where, 'file', file('secret'));
    const { uri } = await server.start();
    const query = `?tls-certificates=${keys.client}&tls-hostname=localhost`;
    const story = new Story('secret', `${uri.replace('nbd:', 'nbds:')}/${query}`);
    return outAndBack(
      story,
      () => host.lose(1),
      () => host.loseNothing(),
    );
  },
  reboot: async (host) => {
    const server = await otherDmiod(host, 'reboot').start();
    const story = new Story('reboot', `${server.uri}/data`);
    return outAndBack(
      story,
      // Its power is cut: no end of a connection reaches us.
      async () => {
        host.pullCable();
        await server.kill();
      },
      async () => {
        host.plugIn();
        await server.start();
      },
    );
  },
  loss: async (host) => {
    const server = await qemuNbd(host, 'loss').start();
    const story = new Story('loss', `${server.uri}/`);
    await story.create();
    host.lose(0.1);
    const writer = await story.write();
    await answered(writer, 200);
    const acknowledgedDuring = writer.acknowledged;
    host.loseNothing();
    await writer.stop();
    await story.until(isInSync);
    return story.end({ acknowledgedDuring });
  },
  slow: async (host) => {
    const where = ['-p', String(PORT), '-i', host.address];
    const delay = ['wdelay=30ms', 'rdelay=30ms'];
    const plugin = ['--filter=delay', 'file', file('slow'), ...delay];
    const server = host.server(PORT, folder, 'nbdkit', '-f', ...where, ...plugin);
    await server.start();
    const story = new Story('slow', `${server.uri}/`, PATIENT_S);
    await story.create();
    await story.writeSome(200);
    return story.end({ during: await story.states() });
  },
};

/** A host that comes back with another disk: what becomes of the leg. */
async function otherDisk(host: FarHost): Promise<LegStatus> {
  const server = await nbdkit(host, 'other').start();
  const story = new Story('other', `${server.uri}/`);
  await story.create();
  const writer = await story.write();
  await answered(writer, 50);
  await server.kill();
  truncateSync(file('other'), SIZE / 2);
  await server.start();
  await story.until(isFailed);
  await writer.stop();
  await story.stopReading();
  return story.until(({ note }) => note?.includes('refused') === true);
}

/** The longest answer of a mirror of legs that are all here, while the stories are played. */
async function calmMs(areOver: Promise<unknown>): Promise<number> {
  const legs = ['calm-a.img', 'calm-b.img', 'calm-c.img'];
  const size = String(SIZE);
  await ok('create', 'calm', '--mirror', ...legs, '--size', size, '--assume-clean');
  const socket = join(folder, 'nbd.sock');
  const book = new TagBook(WRITTEN);
  const writer = await TaggedWriter.start(socket, 'calm', book, new Prng(1), PACE);
  const place = { socket, name: 'calm', bytes: SIZE };
  const reader = await ClockedReader.start(place, new Prng(2), READ_PAUSE_MS);
  let isOver = false;
  void areOver.then(() => (isOver = true));
  while (!isOver) {
    await ok('leg', 'fail', 'calm', 'calm-b.img');
    await answered(writer, 10);
    await ok('leg', 're-add', 'calm', 'calm-b.img');
    while ((await statusOf('calm')).legs.some((leg) => !isInSync(leg))) await sleep(200);
    await answered(writer, 10);
  }
  await writer.stop();
  await reader.stop();
  return Math.max(writer.longestMs, reader.longestMs);
}

let longestCalmMs = 0;
const seen = new Map<string, Seen | Error>();
let stranger: LegStatus | Error = new Error('not played');

async function play(name: string, host: FarHost): Promise<void> {
  try {
    seen.set(name, (await STORIES[name]?.(host)) ?? new Error('no such story'));
  } catch (error) {
    seen.set(name, error as Error);
  }
}

function outcomeOf(name: string): Seen {
  const outcome = seen.get(name);
  if (outcome === undefined || outcome instanceof Error) throw outcome ?? new Error('not played');
  return outcome;
}

beforeAll(async () => {
  network = new FarNetwork();
  const steadyHost = network.addHost();
  // What the writers do not touch is there already: a leg that has it has not lost everything.
  const content = Buffer.alloc(SIZE, 'dmiod');
  content.fill(0, 0, WRITTEN);
  const names = [...Object.keys(STORIES), 'other'];
  for (const where of ['far', 'steady']) {
    mkdirSync(join(folder, where));
    for (const name of names) writeFileSync(join(folder, where, name), content);
  }
  for (const name of names) writeFileSync(join(folder, `${name}.img`), content);
  const where = ['-p', String(PORT), '-i', steadyHost.address];
  const exports = `dir=${join(folder, 'steady')}`;
  steady = await steadyHost.server(PORT, folder, 'nbdkit', '-f', ...where, 'file', exports).start();
  const authority = new TestAuthority(join(folder, 'pki'));
  keys = {
    server: authority.issue('server', 'server', '/CN=localhost'),
    client: authority.issue('client', 'client', '/CN=dmiod'),
  };
  writeFileSync(join(folder, 'dmiod.toml'), 're-add-delay = 1\n');
  daemon = new Running(folder, [...DAEMON_ARGS, '--config', 'dmiod.toml'], network.inHome);
  await daemon.until(() => isReady(daemon));
  const other = otherDisk(network.addHost()).catch((error: unknown) => error as Error);
  const stories = Promise.all(Object.keys(STORIES).map((name) => play(name, network.addHost())));
  longestCalmMs = await calmMs(stories);
  stranger = await other;
}, 300_000);

afterAll(async () => {
  await daemon.stop('SIGKILL');
  await network.close();
}, 60_000);

const OUT_AND_BACK = ['cable', 'silence', 'secret', 'reboot'];
const IN_SYNC = ['in-sync', 'in-sync', 'in-sync'];

describe('a mirror across hosts', () => {
  it.each(Object.keys(STORIES))('%s: no wrong byte, no error, and all legs equal', (name) => {
    const { wrong, errors, legsEqual, after } = outcomeOf(name);
    expect({ wrong, errors, legsEqual, after }).toEqual({
      wrong: [],
      errors: 0,
      legsEqual: true,
      after: IN_SYNC,
    });
  });

  it.each(Object.keys(STORIES))('%s: no client waits longer than the time-out', (name) => {
    const { longestMs, reads } = outcomeOf(name);
    const extraMs = CALM_TIMES * Math.max(longestCalmMs, LEAST_CALM_MS);
    expect(longestMs).toBeLessThan(LATEST_MS + extraMs);
    expect(reads).toBeGreaterThan(0);
  });

  it.each(OUT_AND_BACK)('%s: clients are served while the leg is out', (name) => {
    const { during, acknowledgedDuring } = outcomeOf(name);
    expect(during).toEqual(['in-sync', 'failed', 'in-sync']);
    expect(acknowledgedDuring).toBeGreaterThan(0);
  });

  it.each(OUT_AND_BACK)('%s: the leg comes back with what it lacked, and no more', (name) => {
    const { lackedBytes, copiedBytes } = outcomeOf(name);
    expect(lackedBytes).toBeGreaterThan(0);
    expect(lackedBytes).toBeLessThanOrEqual(WRITTEN);
    expect(copiedBytes).toBeGreaterThan(0);
    // Should it have to begin again, on a machine with other work: still far from all.
    expect(copiedBytes).toBeLessThan(SIZE / 2);
  });

  it.each(['cable', 'silence', 'secret'])(
    '%s: the leg is refused until what was sent to it is fenced',
    (name) => {
      const { early } = outcomeOf(name);
      expect([early?.code, early?.stderr]).toEqual([
        5,
        expect.stringContaining('its server has not closed'),
      ]);
    },
  );

  it('cable: write-mostly legs far away are not read while the one here is good', () => {
    expect(outcomeOf('cable').farReadBytes).toBe(0);
  });

  it('a host that comes back with another disk is refused, in words', () => {
    if (stranger instanceof Error) throw stranger;
    expect(stranger).toMatchObject({
      state: 'failed',
      note: expect.stringContaining('refused') as string,
    });
  });

  it('loss, slow: the mirror goes on', () => {
    expect(outcomeOf('loss').acknowledgedDuring).toBeGreaterThan(0);
    expect(outcomeOf('slow').during).toEqual(IN_SYNC);
  });
});
