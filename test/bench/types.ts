// The words of the benchmark. A row says what is asked, a server who answers, a sample what one turn
// of one server at one row measured; a contest interleaves the turns of several contestants.

const PATTERNS = ['randread', 'randwrite', 'randrw', 'read', 'write', 'idle'] as const;
export type Pattern = (typeof PATTERNS)[number];

export interface Load {
  /** `idle` connects and asks nothing. */
  readonly pattern: Pattern;
  readonly blockBytes: number;
  /** Requests in flight on each connection. */
  readonly depth: number;
  readonly connections: number;
  /** `fua`: every write carries the flag. `flush`: after every 32 writes of a connection. */
  readonly sync: 'none' | 'fua' | 'flush';
  /** fio's NBD engine cannot send FUA and cannot hold 256 connections cheaply; our own client can. */
  readonly client: 'fio' | 'own';
}

export type Legs = 1 | 2 | 3;
export type Transport = 'unix' | 'tcp';
/** `same`: server and client share one CPU; `apart`: one CPU each; `free`: the scheduler decides. */
export type Pin = 'free' | 'same' | 'apart';

export interface Row {
  readonly name: string;
  readonly load: Load;
  readonly legs: Legs;
  /** Devices of one leg each, a connection each; absent: one device. */
  readonly devices?: number;
  readonly transport: Transport;
  readonly pin: Pin;
}

export interface LoadResult {
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Latency percentiles in microseconds; null when nothing was asked. */
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  readonly p999Us: number | null;
  /** Requests of the busiest connection, as times those of the least busy; null of one, or from fio. */
  readonly unevenness: number | null;
}

/** What is compared; null where a turn does not measure it. */
export interface Metrics {
  readonly requestsPerSecond: number | null;
  readonly mibPerSecond: number | null;
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  readonly p999Us: number | null;
  readonly unevenness: number | null;
  /** Server CPU time, user and system, all its processes and threads. */
  readonly cpuUsPerRequest: number | null;
  readonly cpuPercent: number | null;
  /** VmHWM of the server's processes. */
  readonly memoryMib: number | null;
  /** From the start of the program to its NBD greeting. */
  readonly startMs: number | null;
}

export interface Sample extends Metrics {
  readonly round: number;
  /** The machine's load average just before: who else was busy. */
  readonly loadAverage: number;
}

export type Metric = keyof Metrics;

export interface Contestant {
  readonly label: string;
  /** One turn. Rejects with the reason when it cannot be measured. */
  readonly turn: (round: number) => Promise<Metrics>;
}

export interface Cell {
  readonly label: string;
  readonly samples: readonly Sample[];
  /** Why the cell does not count, or null. Samples before the failure stay in the JSON. */
  readonly failure: string | null;
}

export interface Outcome {
  readonly name: string;
  readonly cells: readonly Cell[];
}
