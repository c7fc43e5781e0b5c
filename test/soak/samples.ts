import { readdirSync, readFileSync } from 'node:fs';

interface Sample {
  readonly seconds: number;
  readonly rssMib: number;
  readonly descriptors: number;
  readonly threads: number;
}

/** Growth that is no leak: pages the allocator keeps, one more slab. */
const SLACK_MIB = 8;
const SLACK_RATIO = 1.1;
/** Buffers of a first client, compiled code: what comes once. */
const WARM_UP = 0.1;

export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** What the kernel says of a process, over time, and what that means. */
export class Samples {
  private readonly pid: number;
  private readonly start = Date.now();
  private readonly all: Sample[] = [];

  constructor(pid: number) {
    this.pid = pid;
  }

  heading(): string {
    return ' seconds  RSS MiB  fds  threads  client runs  failures';
  }

  /** One more line of the table. */
  take(runs: number, failures: number): string {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    const numberAt = (key: string): number =>
      Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
    const sample = {
      seconds: Math.round((Date.now() - this.start) / 1000),
      rssMib: numberAt('VmRSS') / 1024,
      descriptors: openDescriptors(this.pid),
      threads: numberAt('Threads'),
    };
    this.all.push(sample);
    const { seconds, rssMib, descriptors, threads } = sample;
    const cells = [seconds, rssMib.toFixed(1), descriptors, threads, runs, failures];
    const widths = [8, 9, 5, 9, 13, 10];
    return cells.map((cell, i) => String(cell).padStart(widths[i] ?? 0)).join('');
  }

  /** Memory is flat when the last third needs no more than the first third after the warm-up. */
  complaints(): string[] {
    const { first, last } = this.thirds();
    const bound = first.rss * SLACK_RATIO + SLACK_MIB;
    const complaints: string[] = [];
    if (!(last.rss <= bound)) {
      complaints.push(
        `memory grows: ${first.rss.toFixed(1)} MiB in the first third, ` +
          `${last.rss.toFixed(1)} in the last, at most ${bound.toFixed(1)} allowed`,
      );
    }
    if (last.threads > first.threads) {
      complaints.push(`threads grow: ${first.threads}, then ${last.threads}`);
    }
    return complaints;
  }

  summary(): string {
    const { first, last } = this.thirds();
    const peak = Math.max(...this.all.map(({ rssMib }) => rssMib));
    return (
      `median RSS: ${first.rss.toFixed(1)} MiB in the first third after the warm-up, ` +
      `${last.rss.toFixed(1)} MiB in the last; peak ${peak.toFixed(1)} MiB; threads ${last.threads}`
    );
  }

  private thirds(): { first: Third; last: Third } {
    const warm = this.all.slice(Math.ceil(this.all.length * WARM_UP));
    const third = Math.max(1, Math.floor(warm.length / 3));
    return { first: thirdOf(warm.slice(0, third)), last: thirdOf(warm.slice(-third)) };
  }
}

interface Third {
  readonly rss: number;
  readonly threads: number;
}

function thirdOf(samples: readonly Sample[]): Third {
  const median = (values: readonly number[]): number =>
    values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
  return {
    rss: median(samples.map(({ rssMib }) => rssMib)),
    threads: median(samples.map(({ threads }) => threads)),
  };
}
