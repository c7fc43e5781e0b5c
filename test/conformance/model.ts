import type { Prng } from '../../core/base/prng.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import type { ReqOp } from '../../core/block/op.ts';
import { expectEqual, randomBytes, Violation } from './bench.ts';
import type { Bench, TestBio } from './bench.ts';

const STEPS = 1500;
const IN_FLIGHT_MAX = 24;
const BLOCKS_MAX = 24;

/** A bio under way, and what a READ must find: the model's content when it was submitted. */
interface Running {
  readonly bio: TestBio;
  readonly bytes: Uint8Array;
  readonly wanted: Uint8Array | undefined;
}

/**
 * Random bios, many in flight, against a flat array. Bios that would race (overlap, and not both
 * reads) are not drawn together, so that the model always knows the one right content.
 */
export async function checkModel(bench: Bench, prng: Prng): Promise<void> {
  const { device, blockSectors: block } = bench;
  const blocks = Math.floor(device.sectors / block);
  const model = new Uint8Array(bytesOfSectors(blocks * block));
  await eachPart(bench, model, REQ_OP.WRITE);
  let running: Running[] = [];
  for (let step = 0; step < STEPS; step += 1) {
    const first = prng.below(blocks);
    const count = prng.between(1, Math.min(BLOCKS_MAX, blocks - first));
    const op = drawOp(bench, prng);
    const [sector, sectors] = [first * block, count * block];
    const clashes = running.some(({ bio }) => races(bio, op, sector, sectors));
    if (!clashes) running.push(submit(bench, prng, model, op, sector, sectors));
    if (clashes || running.length >= IN_FLIGHT_MAX) await bench.turn();
    running = running.filter((record) => !isOver(record));
  }
  await bench.settle();
  for (const record of running) isOver(record);
  const read = new Uint8Array(model.length);
  await eachPart(bench, read, REQ_OP.READ);
  expectEqual(read, model, 'the whole device in the end');
}

function drawOp(bench: Bench, prng: Prng): ReqOp {
  const { maxDiscardSectors, maxWriteZeroesSectors, discardZeroes } = bench.device.limits;
  const draw = prng.below(20);
  if (draw === 0) return REQ_OP.FLUSH;
  if (draw === 1 && maxDiscardSectors > 0 && discardZeroes) return REQ_OP.DISCARD;
  if (draw === 2 && maxWriteZeroesSectors > 0) return REQ_OP.WRITE_ZEROES;
  return draw < 11 ? REQ_OP.WRITE : REQ_OP.READ;
}

function races(bio: TestBio, op: ReqOp, sector: number, sectors: number): boolean {
  if (bio.op === REQ_OP.FLUSH || op === REQ_OP.FLUSH) return false;
  if (bio.op === REQ_OP.READ && op === REQ_OP.READ) return false;
  return bio.sector < sector + sectors && sector < bio.sector + bio.sectors;
}

function submit(
  bench: Bench,
  prng: Prng,
  model: Uint8Array,
  op: ReqOp,
  sector: number,
  sectors: number,
): Running {
  const [from, to] = [bytesOfSectors(sector), bytesOfSectors(sector + sectors)];
  const flags = prng.ratio(1, 8) && op !== REQ_OP.READ ? REQ_FLAG.FUA : REQ_FLAG.NONE;
  const bytes = op === REQ_OP.WRITE ? randomBytes(prng, sectors) : new Uint8Array(to - from);
  const wanted = op === REQ_OP.READ ? model.slice(from, to) : undefined;
  if (op === REQ_OP.WRITE) model.set(bytes, from);
  if (op === REQ_OP.DISCARD || op === REQ_OP.WRITE_ZEROES) model.fill(0, from, to);
  const hasMemory = op === REQ_OP.READ || op === REQ_OP.WRITE;
  const range = op === REQ_OP.FLUSH ? {} : { sector, sectors };
  const bio = bench.bio({ op, flags, ...range, ...(hasMemory ? { bytes } : {}) });
  return { bio: bench.submit(bio), bytes, wanted };
}

function isOver({ bio, bytes, wanted }: Running): boolean {
  if (bio.ends === 0) return false;
  if (bio.error !== 0) throw new Violation(`op ${bio.op} at ${bio.sector}: errno ${bio.error}`);
  if (wanted !== undefined) expectEqual(bytes, wanted, `READ of ${bio.sectors} at ${bio.sector}`);
  return true;
}

/** Bios no longer than the limits allow. */
async function eachPart(bench: Bench, bytes: Uint8Array, op: ReqOp): Promise<void> {
  const { maxSectors } = bench.device.limits;
  const sectors = bytes.length / bytesOfSectors(1);
  for (let sector = 0; sector < sectors; sector += maxSectors) {
    const count = Math.min(maxSectors, sectors - sector);
    const part = bytes.subarray(bytesOfSectors(sector), bytesOfSectors(sector + count));
    await bench.expect(0, `op ${op} at ${sector}`, { op, sector, sectors: count, bytes: part });
  }
}
