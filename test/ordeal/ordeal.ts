// Rounds of trouble: a daemon and its mirror of three legs under verified traffic, one trouble after
// the other, and after each round a mirror in sync whose legs are proven identical.
import { closeSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { Prng } from '../../core/base/prng.ts';
import type { DeviceStatus, StatusReport } from '../../core/control/status.ts';
import { runBeside } from '../support/run.ts';
import { DMIO, DMIOD, Running } from '../support/running.ts';
import { Clients, DEVICE_MIB, TAGGED_MIB } from './clients.ts';
import { LIMIT_SECONDS, OrdealLeg } from './legs.ts';
import { TROUBLES, type Site } from './troubles.ts';

export interface OrdealOptions {
  readonly folder: string;
  readonly seed: number;
  readonly engine: string;
  readonly log: string;
  /** Traffic of a round lasts at least this long. */
  readonly seconds: number;
  /** Names of the troubles to draw from; all of them when empty. */
  readonly only: readonly string[];
}

/** Room for the metadata of the native log behind the data. */
const LEG_MIB = DEVICE_MIB + 16;
const NAMES = ['a', 'b', 'c'];
/** Connections when all are there: two writers, and fio's through the retry filter. */
const CLIENTS = 3;

export class Ordeal implements Site {
  readonly prng: Prng;
  readonly legs: OrdealLeg[];
  spare: OrdealLeg;
  readonly drawn: readonly string[];
  private readonly options: OrdealOptions;
  private readonly clients: Clients;
  private daemon: Running | null = null;

  constructor(options: OrdealOptions) {
    this.options = options;
    this.prng = new Prng(options.seed);
    const { folder } = options;
    this.legs = NAMES.map((name) => new OrdealLeg(folder, name, LEG_MIB));
    this.spare = new OrdealLeg(folder, 'spare', LEG_MIB);
    this.clients = new Clients(folder, 'data', this.prng);
    this.drawn = options.only.length > 0 ? options.only : Object.keys(TROUBLES);
    const unknown = this.drawn.find((name) => TROUBLES[name] === undefined);
    if (unknown !== undefined) throw new Error(`no trouble is called ${unknown}`);
  }

  get acknowledged(): number {
    return this.clients.acknowledged;
  }

  async open(): Promise<void> {
    for (const leg of [...this.legs, this.spare]) await leg.start();
    await this.startDaemon();
    const legs = this.legs.map(({ path }) => path);
    const sizes = ['--size', `${DEVICE_MIB}M`, '--region-size', '64K', '--log', this.options.log];
    await this.dmio('create', 'data', '--mirror', ...legs, ...sizes, '--assume-clean');
    await this.clients.open();
  }

  /** Takes everything down. */
  async close(): Promise<void> {
    this.clients.close();
    await this.daemon?.stop('SIGKILL');
    for (const leg of [...this.legs, this.spare]) await leg.kill();
  }

  /** One round with the trouble of that name, or one drawn; what went wrong, in words. */
  async round(name = this.draw()): Promise<readonly string[]> {
    const trouble = TROUBLES[name];
    if (trouble === undefined) throw new Error(`no trouble is called ${name}`);
    const complaints: string[] = [];
    let hasEnded = false;
    const traffic = this.clients.run(this.options.seconds).finally(() => {
      hasEnded = true;
    });
    try {
      // The retry filter asks again for requests, not for a connection that was never there.
      const begun = async (): Promise<boolean> =>
        hasEnded || (await this.status()).connections >= CLIENTS;
      while (!(await begun())) await sleep(20);
      await sleep(this.prng.below(300));
      await trouble(this);
    } catch (error) {
      complaints.push(error instanceof Error ? error.message : String(error));
    }
    complaints.push(...(await traffic));
    complaints.push(...(await this.judge()));
    return complaints.map((complaint) => `${name}: ${complaint}`);
  }

  draw(): string {
    return this.drawn[this.prng.below(this.drawn.length)] ?? '';
  }

  async dmio(...args: readonly string[]): Promise<string> {
    const all = [DMIO, '--control', 'control.sock', ...args];
    const ran = await runBeside(this.options.folder, process.execPath, ...all);
    if (ran.code === 0) return ran.stdout;
    throw new Error(`dmio ${args.join(' ')}: exit ${String(ran.code)}: ${ran.stderr.trim()}`);
  }

  async status(): Promise<DeviceStatus> {
    const { devices } = JSON.parse(await this.dmio('status', 'data', '--json')) as StatusReport;
    const device = devices[0];
    if (device === undefined) throw new Error('no device in the status');
    return device;
  }

  async killDaemon(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const code = await this.daemon?.stop(signal);
    if (signal === 'SIGTERM' && code !== 0) {
      throw new Error(`SIGTERM ended dmiod with ${String(code)}: ${this.daemon?.stderr ?? ''}`);
    }
  }

  async startDaemon(): Promise<void> {
    const places = ['--control', 'control.sock', '--state-dir', 'state'];
    const listen = ['--listen', 'unix:nbd.sock', '--engine', this.options.engine];
    const daemon = new Running(this.options.folder, [DMIOD, ...places, ...listen]);
    this.daemon = daemon;
    await daemon.until(() => daemon.stderr.includes('"msg":"ready"'), LIMIT_SECONDS * 1000);
  }

  /** In sync, what clients were told is there, and the legs are the same to the last byte. */
  private async judge(): Promise<readonly string[]> {
    try {
      await this.dmio('wait', 'data', '--in-sync', '--timeout', String(LIMIT_SECONDS));
      const wrong = await this.wrongSlots();
      const differing = await this.differingLegs();
      return [...wrong, ...differing];
    } catch (error) {
      const status = await this.dmio('status', 'data').catch(() => 'no status');
      return [`${error instanceof Error ? error.message : String(error)}\n${status}`];
    }
  }

  private async wrongSlots(): Promise<readonly string[]> {
    const image = join(this.options.folder, 'image');
    rmSync(image, { force: true });
    const uri = `nbd+unix:///data?socket=${this.options.folder}/nbd.sock`;
    const ran = await runBeside(this.options.folder, 'nbdcopy', uri, image);
    if (ran.code !== 0) return [`nbdcopy ended with ${String(ran.code)}: ${ran.stderr}`];
    const bytes = readFileSync(image).subarray(0, TAGGED_MIB * 2 ** 20);
    const wrong = this.clients.book.wrongIn(bytes);
    this.clients.book.seenIn(bytes);
    return wrong.slice(0, 5);
  }

  private async differingLegs(): Promise<readonly string[]> {
    const { legs } = await this.status();
    if (legs.length !== this.legs.length)
      return [`${legs.length} legs, ${this.legs.length} wanted`];
    return differences(
      join(this.options.folder, 'image'),
      this.legs.map(({ store }) => store),
    );
  }
}

/** Each of `paths` begins with the bytes of `model`. */
function differences(model: string, paths: readonly string[]): readonly string[] {
  const CHUNK = 2 ** 20;
  const files = [model, ...paths].map((path) => openSync(path, 'r'));
  const chunks = files.map(() => Buffer.alloc(CHUNK));
  const found: string[] = [];
  for (let at = 0; at < DEVICE_MIB * 2 ** 20 && found.length < 5; at += CHUNK) {
    files.forEach((file, i) => readSync(file, chunks[i] ?? Buffer.alloc(0), 0, CHUNK, at));
    const [wanted, ...others] = chunks;
    others.forEach((chunk, i) => {
      if (wanted !== undefined && chunk.equals(wanted)) return;
      found.push(`${paths[i] ?? ''} differs from what clients read, in MiB ${at / CHUNK}`);
    });
  }
  files.forEach(closeSync);
  return found;
}
