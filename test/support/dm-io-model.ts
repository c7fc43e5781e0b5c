// What dm-io promises, as plainly as it can be said: checked against what a batch of requests did.
// The model knows regions, faults and bytes; it does not know how dm-io cuts, queues or counts.
import { SECTOR_SIZE } from '../../core/base/units.ts';
import { hasData, REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import type { Case, TestRegion } from './dm-io-cases.ts';
import { errnosOf, type Disk, type DiskWorld, type LogEntry } from './dm-io-disk.ts';

const EIO_RETURN = -5;

class ModelError extends Error {
  override readonly name = 'ModelError';
}

function insist(holds: boolean, complaint: () => string): void {
  if (!holds) throw new ModelError(complaint());
}

/** The disks' bytes before a batch. */
export function copyDisks(disks: readonly Disk[]): Map<Disk, Uint8Array> {
  return new Map(disks.map((d) => [d, d.bytes.slice()]));
}

/** Called when a case has ended: what its request sent, before the record is used again. */
export function claimEntries(world: DiskWorld, owned: Map<LogEntry, Case>, c: Case): void {
  for (let i = c.logStart; i < world.log.length; i += 1) {
    const entry = world.log[i] as LogEntry;
    if (owned.has(entry)) continue;
    if (c.request === null) {
      // A synchronous service hides its record; it is the only one whose bios carry SYNC then.
      const { request, flags } = entry;
      if ((flags & REQ_FLAG.SYNC) === 0 || request === null || ownRequests.has(request)) continue;
    } else if (entry.request !== c.request) continue;
    insist(entry.ended > 0, () => `told before ${describeEntry(entry)} had ended (R7)`);
    owned.set(entry, c);
    c.entries.push(entry);
  }
}

const ownRequests = new WeakSet<object>();

/** Marks a request a test made itself, so that it is not taken for a hidden one. */
export function markOwnRequest(request: object): void {
  ownRequests.add(request);
}

/** Everything a batch must have left behind. @throws ModelError saying what differs, and where */
export function checkBatch(
  cases: readonly Case[],
  world: DiskWorld,
  owned: ReadonlyMap<LogEntry, Case>,
  bytes: ReadonlyMap<Disk, Uint8Array>,
): void {
  cases.forEach((c, i) => checkOutcome(c, `case ${i} (${describe(c)})`));
  for (const entry of world.log) {
    insist(owned.has(entry), () => `a bio of nobody: ${describeEntry(entry)}`);
    insist(entry.ended > 0, () => `a bio never ended: ${describeEntry(entry)}`);
  }
  const memories = replay(world, owned, bytes);
  for (const [c, expected] of memories) {
    insist(same(c.memory.backing, expected), () => {
      return `memory of ${describe(c)} differs at byte ${difference(c.memory.backing, expected)}`;
    });
  }
  for (const [disk, expected] of bytes) {
    insist(same(disk.bytes, expected), () => {
      return `${disk.name} differs at sector ${difference(disk.bytes, expected) / SECTOR_SIZE}`;
    });
  }
}

function isRefusedRead(c: Case): boolean {
  return c.op === REQ_OP.READ && c.regions.length > 1;
}

/** Bits, errnos, return value and calls of one case, from its regions and the disks' faults alone. */
function checkOutcome(c: Case, name: string): void {
  insist(c.calls === 1, () => `${name}: told ${c.calls} times`);
  insist(!c.insideCall, () => `${name}: told from inside the call`);
  if (isRefusedRead(c)) {
    insist(c.entries.length === 0, () => `${name}: I/O for a read of several regions (R1)`);
    insist(c.ret === EIO_RETURN, () => `${name}: returned ${c.ret} (R1)`);
    insist(c.errorBits === (c.isSync ? 0n : 1n), () => `${name}: bits ${c.errorBits} (R1)`);
    return;
  }
  let bits = 0n;
  c.regions.forEach((region, i) => {
    const errnos = expectedErrnos(c, region);
    const errno = c.errnos[i];
    if (errnos.size > 0) bits |= 1n << BigInt(i);
    const fits = errnos.size === 0 ? errno === 0 : errnos.has(errno ?? 0);
    insist(fits, () => `${name}: region ${i} errno ${errno}, expected ${[...errnos].join('/')}`);
    checkRegionEntries(c, i, region, name);
  });
  insist(c.errorBits === bits, () => `${name}: bits ${c.errorBits}, expected ${bits} (R6)`);
  const ret = c.isSync && bits !== 0n ? EIO_RETURN : 0;
  insist(c.ret === ret, () => `${name}: returned ${c.ret}, expected ${ret} (R9)`);
  checkPhases(c, name);
}

function flushes(c: Case): boolean {
  return c.op === REQ_OP.FLUSH || (c.flags & REQ_FLAG.PREFLUSH) !== 0;
}

function expectedErrnos(c: Case, { device, sector, count }: TestRegion): ReadonlySet<number> {
  const flush = flushes(c) ? errnosOf(device, REQ_OP.FLUSH, 0, 0) : new Set<number>();
  if (c.op === REQ_OP.FLUSH || flush.size > 0 || count === 0) return flush;
  return errnosOf(device, c.op, sector, count);
}

/** R5, R18, R19, R20: the bios of a region cover it exactly once, in order, and no more of them. */
function checkRegionEntries(c: Case, index: number, region: TestRegion, name: string): void {
  const mine = c.entries.filter(({ tag }) => tag === index);
  const flush = mine.filter(({ op }) => op === REQ_OP.FLUSH);
  const data = mine.filter(({ op }) => op !== REQ_OP.FLUSH);
  const what = `${name}: region ${index}`;
  insist(flush.length === (flushes(c) ? 1 : 0), () => `${what} got ${flush.length} flushes`);
  const ranged = flush.some(({ sector, sectors }) => sector + sectors !== 0);
  insist(!ranged, () => `${what} got a flush with a range`);
  const disk = region.device;
  const flushFailed = flush.some(({ error }) => error !== 0);
  const limit = lengthLimit(c, disk);
  const none = c.op === REQ_OP.FLUSH || flushFailed || limit === 0;
  let next = region.sector;
  for (const entry of data) {
    insist(entry.disk === disk && entry.op === c.op, () => `${what}: ${describeEntry(entry)}`);
    insist(entry.sector === next, () => `${what} goes on at ${entry.sector}, not ${next}`);
    next += entry.sectors;
  }
  const end = region.sector + (none ? 0 : region.count);
  insist(next === end, () => `${what} ends at ${next}, not ${end}`);
  if (none || c.memory.shape === 'pages' || c.memory.shape === 'vecs') return;
  const bios = Math.ceil(region.count / limit);
  insist(data.length === bios, () => `${what} in ${data.length} bios, ${bios} would do (R20)`);
}

function lengthLimit({ op }: Case, { limits }: Disk): number {
  const block = limits.logicalBlockSize / SECTOR_SIZE;
  if (hasData(op)) return limits.maxSectors;
  if (op === REQ_OP.DISCARD) return Math.floor(limits.maxDiscardSectors / block) * block;
  return Math.floor(limits.maxWriteZeroesSectors / block) * block;
}

/** Flags of every bio, and no data before the last flush has ended (R12, R18, R27). */
function checkPhases(c: Case, name: string): void {
  const sync = c.isSync ? REQ_FLAG.SYNC : 0;
  let lastFlush = 0;
  for (const { op, flags, ended } of c.entries) {
    const isFlush = op === REQ_OP.FLUSH;
    const wanted = (c.flags | sync) & (isFlush ? REQ_FLAG.SYNC : ~REQ_FLAG.PREFLUSH);
    insist(flags === wanted, () => `${name}: a bio with flags ${flags}, expected ${wanted}`);
    if (isFlush) lastFlush = Math.max(lastFlush, ended);
  }
  for (const { op, submitted } of c.entries) {
    const early = op !== REQ_OP.FLUSH && submitted < lastFlush;
    insist(!early, () => `${name}: data sent before the last flush ended (R18)`);
  }
}

/** Does to the model's bytes what the bios did, in the order in which they ended. */
function replay(
  world: DiskWorld,
  owned: ReadonlyMap<LogEntry, Case>,
  bytes: ReadonlyMap<Disk, Uint8Array>,
): ReadonlyMap<Case, Uint8Array> {
  const memories = new Map<Case, Uint8Array>();
  for (const c of owned.values()) {
    if (!memories.has(c)) memories.set(c, c.memory.before.slice());
  }
  const inOrder = [...world.log].sort((a, b) => a.ended - b.ended);
  for (const entry of inOrder) {
    const c = owned.get(entry) as Case;
    applyEntry(entry, c, memories.get(c) as Uint8Array, bytes.get(entry.disk) as Uint8Array);
  }
  return memories;
}

function applyEntry(e: LogEntry, c: Case, memory: Uint8Array, disk: Uint8Array): void {
  if (e.op === REQ_OP.FLUSH) return;
  if (!hasData(e.op)) {
    if (e.error === 0) disk.fill(0, e.sector * SECTOR_SIZE, (e.sector + e.sectors) * SECTOR_SIZE);
    return;
  }
  const region = c.regions[e.tag] as TestRegion;
  const start = (region.memorySector ?? 0) + e.sector - region.sector;
  const isWrite = e.op === REQ_OP.WRITE;
  const moved = isWrite ? e.moved : e.sectors;
  for (let i = 0; i < moved; i += 1) {
    const from = c.memory.at[start + i] as number;
    const at = (e.sector + i) * SECTOR_SIZE;
    if (isWrite) disk.set(c.memory.before.subarray(from, from + SECTOR_SIZE), at);
    else if (e.error !== 0) memory.fill(0, from, from + SECTOR_SIZE);
    else memory.set(disk.subarray(at, at + SECTOR_SIZE), from);
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function difference(a: Uint8Array, b: Uint8Array): number {
  return a.findIndex((value, i) => value !== b[i]);
}

function describe(c: Case): string {
  const mode = c.isSync ? 'sync' : 'async';
  return `${c.api} ${mode} op ${c.op} flags ${c.flags} ${c.memory.shape}, ${c.regions.length} regions`;
}

function describeEntry({ disk, op, sector, sectors, tag }: LogEntry): string {
  return `${disk.name} op ${op} sector ${sector} + ${sectors} tag ${tag}`;
}
