// Clients that live through the death of the daemon: fio behind nbdkit's retry filter, which opens the
// connection again and sends again, and writers that know for each place what they were told.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { Prng } from '../../core/base/prng.ts';
import { NBD_ERROR } from '../../core/nbd/proto.ts';
import { ENVIRONMENT, runBeside } from '../support/run.ts';
import { TagBook, TaggedWriter } from '../support/tagged-writer.ts';
import { LIMIT_SECONDS, until } from './legs.ts';

/** The device: fio has the first part, the tagged writers the rest of `TAGGED_MIB`. */
export const TAGGED_MIB = 16;
const FIO_MIB = 32;
export const DEVICE_MIB = TAGGED_MIB + FIO_MIB;

export class Clients {
  readonly book = new TagBook(TAGGED_MIB * 2 ** 20);
  acknowledged = 0;
  private readonly folder: string;
  private readonly name: string;
  private readonly prng: Prng;
  private front: ChildProcess | null = null;
  private stopping = false;
  private readonly complaints: string[] = [];

  constructor(folder: string, name: string, prng: Prng) {
    this.folder = folder;
    this.name = name;
    this.prng = prng;
  }

  /** The retrying server in front of ours, once for all rounds. */
  async open(): Promise<void> {
    const socket = this.frontSocket();
    rmSync(socket, { force: true });
    const args = [
      ...['-f', '-U', socket, '--filter=retry', 'nbd', `socket=${this.folder}/nbd.sock`],
      ...[
        'retry=60',
        `export=${this.name}`,
        `retries=${LIMIT_SECONDS}`,
        'retry-delay=1',
        'retry-exponential=no',
      ],
    ];
    this.front = spawn('nbdkit', args, { cwd: this.folder, env: ENVIRONMENT, stdio: 'ignore' });
    await until(() => existsSync(socket), 'the retrying nbdkit');
  }

  close(): void {
    this.front?.kill('SIGTERM');
  }

  /** Traffic for `seconds`; what went wrong, in words. */
  async run(seconds: number): Promise<readonly string[]> {
    this.stopping = false;
    this.complaints.length = 0;
    const writers = [this.writeForEver(), this.writeForEver()];
    await this.fio(seconds);
    this.stopping = true;
    await Promise.all(writers);
    return [...this.complaints];
  }

  private async fio(seconds: number): Promise<void> {
    const { code, stdout, stderr } = await runBeside(
      this.folder,
      'fio',
      ...['--name=ordeal', '--ioengine=nbd', `--uri=nbd+unix:///?socket=${this.frontSocket()}`],
      ...['--rw=randwrite', '--bsrange=4k-64k', '--bs_unaligned=0', '--iodepth=8'],
      ...[`--offset=${TAGGED_MIB}M`, `--size=${FIO_MIB}M`, `--randseed=${this.prng.u32()}`],
      ...['--verify=crc32c', '--verify_fatal=1', '--verify_backlog=64', '--serialize_overlap=1'],
      ...['--time_based', `--runtime=${seconds}`, '--fsync=64', '--thinktime=200us'],
    );
    if (code !== 0) this.complaints.push(`fio ended with ${String(code)}: ${stderr}${stdout}`);
  }

  /** A new connection whenever the last one ended, which only a daemon's end may do. */
  private async writeForEver(): Promise<void> {
    const socket = join(this.folder, 'nbd.sock');
    while (!this.stopping) {
      const writer = await TaggedWriter.start(
        socket,
        this.name,
        this.book,
        new Prng(this.prng.u32()),
      ).catch(() => null);
      if (writer === null) {
        await sleep(50);
        continue;
      }
      while (!this.stopping && !writer.isEnded) await sleep(20);
      await writer.stop();
      this.acknowledged += writer.acknowledged;
      for (const [error, count] of writer.errors) {
        if (error === NBD_ERROR.ESHUTDOWN) continue;
        this.complaints.push(`a writer was answered with error ${error}, ${count} times`);
      }
    }
  }

  private frontSocket(): string {
    return join(this.folder, 'front.sock');
  }
}
