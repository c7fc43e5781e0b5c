// A client that reads one thing after the other, and knows how long the longest answer took.
import { setTimeout as sleep } from 'node:timers/promises';

import type { Prng } from '../../core/base/prng.ts';
import { COMMAND } from '../../core/nbd/proto.ts';
import { request } from './nbd-messages.ts';
import { RawClient } from './raw-client.ts';

const LENGTH = 4096;

export interface ReaderPlace {
  /** Of the daemon. */
  readonly socket: string;
  readonly name: string;
  /** It reads below this. */
  readonly bytes: number;
}

/** Reads 4 KiB anywhere until `stop`, one request at a time. */
export class ClockedReader {
  answered = 0;
  longestMs = 0;
  errors = 0;
  private readonly client: RawClient;
  private stopping = false;
  private running: Promise<void> = Promise.resolve();

  private constructor(client: RawClient) {
    this.client = client;
  }

  static async start(
    { socket, name, bytes }: ReaderPlace,
    prng: Prng,
    pauseMs: number,
  ): Promise<ClockedReader> {
    const reader = new ClockedReader(await RawClient.open({ kind: 'unix', path: socket }, name));
    reader.running = reader.run(Math.floor(bytes / LENGTH), prng, pauseMs);
    // Whoever stops it hears of it.
    reader.running.catch(() => undefined);
    return reader;
  }

  /** Fulfilled when the last request is answered; rejected if the server has gone away meanwhile. */
  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
    this.client.socket.destroy();
  }

  private async run(places: number, prng: Prng, pauseMs: number): Promise<void> {
    while (!this.stopping) {
      const sentMs = performance.now();
      const offset = prng.below(places) * LENGTH;
      this.client.send(request({ type: COMMAND.READ, offset, length: LENGTH }));
      const { error } = await this.client.readReply();
      if (error === 0) await this.client.read(LENGTH);
      else this.errors += 1;
      this.longestMs = Math.max(this.longestMs, performance.now() - sentMs);
      this.answered += 1;
      await sleep(pauseMs);
    }
  }
}
