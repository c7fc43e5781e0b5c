// A daemon on real files: started, killed, asked; and what its legs hold while it is down.
import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOfSectors } from '../../../core/base/units.ts';
import { runBeside } from '../../support/run.ts';
import { DMIO, DMIOD, Running } from '../../support/running.ts';
import type { Value } from '../content.ts';
import { SimFailure } from '../failure.ts';
import { valuesIn } from './real-op.ts';

export const EXPORT = 'data';
/** Against what never ends, not a measure of speed: a machine may have much other work. */
export const PATIENCE_MS = 300_000;
/** Room behind the data for the metadata of the native log. */
const TRAILER_SECTORS = 4096;

export interface RealSet {
  readonly folder: string;
  readonly engine: string;
  readonly log: string;
  readonly legs: number;
  readonly sectors: number;
  readonly regionSectors: number;
  readonly readPolicy: string;
}

export class RealDaemon {
  private readonly set: RealSet;
  private running: Running | null = null;

  constructor(set: RealSet) {
    this.set = set;
  }

  get socket(): string {
    return join(this.set.folder, 'nbd.sock');
  }

  async start(): Promise<void> {
    const { folder, engine } = this.set;
    const places = ['--control', 'control.sock', '--state-dir', 'state'];
    const listen = ['--listen', 'unix:nbd.sock', '--engine', engine];
    const running = new Running(folder, [DMIOD, ...places, ...listen]);
    this.running = running;
    await running.until(() => running.stderr.includes('"msg":"ready"'), PATIENCE_MS);
  }

  /** The legs are files of zeros, and the set knows that they are equal. */
  async create(): Promise<void> {
    const { log, legs, sectors, regionSectors, readPolicy } = this.set;
    const paths = Array.from({ length: legs }, (_, i) => this.pathOf(i));
    for (const path of paths) {
      const fd = openSync(path, 'w');
      ftruncateSync(fd, bytesOfSectors(sectors + (log === 'native' ? TRAILER_SECTORS : 0)));
      closeSync(fd);
    }
    const region = ['--region-size', String(bytesOfSectors(regionSectors))];
    const size = ['--size', String(bytesOfSectors(sectors)), ...region];
    const more = ['--log', log, '--assume-clean', '--read-policy', readPolicy];
    await this.dmio('create', EXPORT, '--mirror', ...paths, ...size, ...more);
  }

  async waitUntilInSync(): Promise<void> {
    await this.dmio('wait', EXPORT, '--in-sync', '--timeout', String(PATIENCE_MS / 1000));
  }

  /** What ended it: an exit code, or the signal. */
  async stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | string> {
    const ended = (await this.running?.stop(signal)) ?? 'never started';
    this.running = null;
    return ended;
  }

  /** What a leg shows, now that no daemon has it. */
  shownBy(leg: number): Value[] {
    const bytes = new Uint8Array(bytesOfSectors(this.set.sectors));
    const fd = openSync(this.pathOf(leg), 'r');
    readSync(fd, bytes, 0, bytes.length, 0);
    closeSync(fd);
    return valuesIn(bytes, 0);
  }

  private pathOf(leg: number): string {
    return join(this.set.folder, `leg${leg}.img`);
  }

  private async dmio(...args: readonly string[]): Promise<void> {
    const all = [DMIO, '--control', 'control.sock', ...args];
    const { code, stderr } = await runBeside(this.set.folder, process.execPath, ...all);
    if (code === 0) return;
    throw new SimFailure('exception', `dmio ${args.join(' ')}: exit ${String(code)}: ${stderr}`);
  }
}
