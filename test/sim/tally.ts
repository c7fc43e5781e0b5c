// What a run of seeds has come to: for people as it goes on, and for a file.
import { spawnSync } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ROOT } from '../support/root.ts';
import { KINDS, type KindName } from './kinds.ts';

/** How a seed went, as a worker tells it: `failure` is null when all is well. */
export interface Played {
  readonly seed: number;
  readonly kind: KindName;
  readonly failure: { readonly law: string; readonly message: string } | null;
}

/** The flags that play this seed again. */
export function again(kind: KindName, seed: number): string {
  const { flags } = KINDS[kind];
  return `npm run sim -- ${flags === '' ? '' : `${flags} `}--seed ${seed}`;
}

/** How often a long run says how far it is, and writes it down. */
const PROGRESS_MS = 60_000;

export class Tally {
  private readonly startedMs = performance.now();
  private readonly startedAt = new Date().toISOString();
  private readonly kinds: Partial<Record<KindName, { played: number; failed: number }>> = {};
  private readonly failures: Played[] = [];
  private readonly first: number;
  private readonly jobs: number;
  private readonly file: string | null;
  private readonly commit = commitOf();
  private toldMs = this.startedMs;
  private played = 0;
  private last = -1;
  /** Of the largest worker. */
  private rss = 0;

  /** `file`: null, or where the summary is written, again and again. */
  constructor(first: number, jobs: number, file: string | null) {
    this.first = first;
    this.jobs = jobs;
    this.file = file;
    // A file that cannot be written is better known now than after eight hours.
    this.write(first, false);
  }

  get failed(): number {
    return this.failures.length;
  }

  get elapsedMs(): number {
    return performance.now() - this.startedMs;
  }

  /** `next`: all seeds before it have been played, so a later run may go on from there. */
  note(played: readonly Played[], next: number, rss: number): void {
    for (const each of played) {
      const { kind, seed, failure } = each;
      const count = (this.kinds[kind] ??= { played: 0, failed: 0 });
      count.played += 1;
      this.played += 1;
      this.last = Math.max(this.last, seed);
      if (failure === null) continue;
      count.failed += 1;
      this.failures.push(each);
      console.log(lineOf(each));
    }
    this.rss = Math.max(this.rss, rss);
    if (performance.now() - this.toldMs < PROGRESS_MS) return;
    this.toldMs = performance.now();
    const range = `${this.first}..${this.last}`;
    console.log(`... ${range}: ${this.played} seeds, ${this.failed} failed, ${this.rate()}`);
    this.write(next, false);
  }

  /** The last words: every failing seed once more, and the sum. */
  end(next: number): void {
    if (this.failed > 0) {
      const sorted = [...this.failures].sort((a, b) => a.seed - b.seed);
      console.log(`failing seeds:\n${sorted.map(lineOf).join('\n')}`);
    }
    console.log(`${this.played} seeds, ${this.failed} failed, ${this.rate()}`);
    this.write(next, true);
  }

  private rate(): string {
    const seconds = this.elapsedMs / 1000;
    return `${seconds.toFixed(1)} s, ${(this.played / seconds).toFixed(1)} seeds/s`;
  }

  /** In one step: who reads it sees one state or the next. */
  private write(next: number, isOver: boolean): void {
    if (this.file === null) return;
    const seconds = this.elapsedMs / 1000;
    const summary = {
      commit: this.commit,
      node: process.version,
      cpus: availableParallelism(),
      jobs: this.jobs,
      command: process.argv.slice(2).join(' '),
      startedAt: this.startedAt,
      isOver,
      seconds: Math.round(seconds),
      seeds: { first: this.first, last: this.last, played: this.played, next },
      perSecond: Number((this.played / seconds).toFixed(1)),
      largestWorkerMiB: Math.round(this.rss / 2 ** 20),
      kinds: this.kinds,
      failed: this.failed,
      failures: this.failures.map(({ kind, seed, failure }) => ({
        kind,
        seed,
        ...failure,
        again: again(kind, seed),
      })),
    };
    writeFileSync(`${this.file}.new`, `${JSON.stringify(summary, null, 2)}\n`);
    renameSync(`${this.file}.new`, this.file);
  }
}

function lineOf({ kind, seed, failure }: Played): string {
  return `${kind} seed ${seed} failed: ${failure?.message ?? ''}\n  ${again(kind, seed)}`;
}

/** Of the tree that is played; `+` where it has changes nobody has committed. */
function commitOf(): string {
  const git = (...args: readonly string[]): string =>
    spawnSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' }).stdout.trim();
  try {
    const commit = git('rev-parse', 'HEAD');
    if (commit === '') return 'unknown';
    return git('status', '--porcelain') === '' ? commit : `${commit}+`;
  } catch {
    // No git here.
    return 'unknown';
  }
}
