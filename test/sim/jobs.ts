// Seeds played by several processes at once. Every seed is a story of its own, so who plays it changes nothing.
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { KINDS, kindOfMixed, type KindName } from './kinds.ts';
import { FAST } from './fast.ts';
import type { Played } from './tally.ts';

/** Seeds in a row for one worker; `kind`: of each, or `mix`: by its number. */
export interface Chunk {
  readonly first: number;
  readonly count: number;
  readonly kind: KindName | 'mix';
}

export interface ChunkDone {
  readonly played: readonly Played[];
  readonly rss: number;
}

/** Enough that handing out costs nothing, few enough that the end is not one worker's alone. */
const CHUNK = 25;
/** A chunk takes seconds: a worker that has had one for so long hangs. */
const HANGS_MS = 900_000;
/** A worker that has grown beyond is replaced: nothing it needs is older than a seed. */
const MOST_RSS = 2 ** 30;
const WORKER_FLAGS = [...FAST, '--enable-source-maps'];

function kindOf({ kind }: Pick<Chunk, 'kind'>, seed: number): KindName {
  return kind === 'mix' ? kindOfMixed(seed) : kind;
}

export function playChunk(chunk: Chunk): Played[] {
  const played: Played[] = [];
  for (let seed = chunk.first; seed < chunk.first + chunk.count; seed += 1) {
    const kind = kindOf(chunk, seed);
    const { failure } = KINDS[kind].play(seed, null);
    const told = failure === null ? null : { law: failure.checker, message: failure.message };
    played.push({ seed, kind, failure: told });
  }
  return played;
}

interface Worker {
  readonly child: ChildProcess;
  chunk: Chunk | null;
  watchdog: NodeJS.Timeout | undefined;
}

/**
 * Hands out the seeds `first` .. `first + count - 1` in chunks until all are played or `stop` was
 * called. Where a worker dies or hangs, the seeds it had are played again one by one by another, and
 * the one that does it is a failure like any other.
 */
export class SeedPool {
  private readonly kind: Chunk['kind'];
  private readonly end: number;
  private readonly onDone: (played: readonly Played[], next: number, rss: number) => void;
  private readonly workers = new Set<Worker>();
  private readonly again: Chunk[] = [];
  private upcoming: number;
  private isStopped = false;
  private finish: () => void = () => undefined;

  constructor(
    kind: Chunk['kind'],
    first: number,
    count: number,
    onDone: (played: readonly Played[], next: number, rss: number) => void,
  ) {
    this.kind = kind;
    this.upcoming = first;
    this.end = first + count;
    this.onDone = onDone;
  }

  /** All seeds before this one have been played. */
  get next(): number {
    let next = this.upcoming;
    for (const { chunk } of this.workers) if (chunk !== null) next = Math.min(next, chunk.first);
    for (const { first } of this.again) next = Math.min(next, first);
    return next;
  }

  /** Of the workers of now. */
  get pids(): number[] {
    return [...this.workers].flatMap(({ child }) => (child.pid === undefined ? [] : [child.pid]));
  }

  /** Ends when what is being played has been. */
  run(jobs: number): Promise<void> {
    return new Promise((resolve) => {
      this.finish = resolve;
      for (let i = 0; i < jobs; i += 1) this.hire();
    });
  }

  stop(): void {
    this.isStopped = true;
  }

  private hire(): void {
    const chunk = this.draw();
    if (chunk === null) {
      if (this.workers.size === 0) this.finish();
      return;
    }
    const path = fileURLToPath(new URL('seed-worker.js', import.meta.url));
    const child = fork(path, { execArgv: WORKER_FLAGS });
    const worker: Worker = { child, chunk: null, watchdog: undefined };
    this.workers.add(worker);
    child.on('message', (done: ChunkDone) => this.chunkDone(worker, done));
    child.on('exit', (code, signal) => this.died(worker, signal ?? `code ${String(code)}`));
    this.give(worker, chunk);
  }

  private draw(): Chunk | null {
    if (this.isStopped) return null;
    const again = this.again.shift();
    if (again !== undefined) return again;
    const count = Math.min(CHUNK, this.end - this.upcoming);
    if (count <= 0) return null;
    const chunk = { first: this.upcoming, count, kind: this.kind };
    this.upcoming += count;
    return chunk;
  }

  private give(worker: Worker, chunk: Chunk): void {
    worker.chunk = chunk;
    worker.watchdog = setTimeout(() => worker.child.kill('SIGKILL'), HANGS_MS);
    // Where it has died already `died` hears of it.
    worker.child.send(chunk, () => undefined);
  }

  private chunkDone(worker: Worker, { played, rss }: ChunkDone): void {
    clearTimeout(worker.watchdog);
    worker.chunk = null;
    this.onDone(played, this.next, rss);
    const isWorn = rss > MOST_RSS;
    const chunk = isWorn ? null : this.draw();
    if (chunk !== null) this.give(worker, chunk);
    // Its exit hires another, if there is anything left to do.
    else worker.child.disconnect();
  }

  private died(worker: Worker, how: string): void {
    clearTimeout(worker.watchdog);
    this.workers.delete(worker);
    const { chunk } = worker;
    if (chunk?.count === 1) {
      const failure = { law: 'process', message: `process: died or hung (${how})` };
      const kind = kindOf(chunk, chunk.first);
      this.onDone([{ seed: chunk.first, kind, failure }], this.next, 0);
    } else if (chunk !== null) {
      for (let i = 0; i < chunk.count; i += 1)
        this.again.push({ ...chunk, first: chunk.first + i, count: 1 });
    }
    this.hire();
  }
}
