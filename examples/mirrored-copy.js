// Copies a file to several destinations at once: one read, one write to all of them, a bit for each.
//
//   node examples/mirrored-copy.js SRC DST1 DST2 [DST3...]
//
// A destination that is missing or empty is made; an image or a device keeps its size, and what lies
// behind SRC's end stays. One that fails is left behind, the others go on; the end says which and where.
// Exit status: 0 every copy is whole and durable; 1 some are not; 2 usage, or SRC cannot be read.
import { dmIo, dmIoAsyncVm, DmIoClient, dmIoGet, dmIoPut, DmIoRequest } from 'dmiod/core';
import { errnoName, READ, REQ_OP, WRITE } from 'dmiod/core';
import { makeLoop, openFile } from './file-device.js';

const CHUNK = 256; // Sectors: 128 KiB, and so exactly the place of a failure is known.
const LANES = 4; // Chunks under way at once: what one page of reserve carries (R21).
const [src, ...names] = process.argv.slice(2);
if (names.length < 1 || names.length > 64) stop('usage: mirrored-copy.js SRC DST1 DST2 [DST3...]');

const loop = makeLoop();
const source = openFile(loop, src, 'r');
if (source.errno) stop(`${src}: ${errnoName(source.errno)}`);
const targets = names.map((name) => openFile(loop, name, 'r+', source.bytes));
const failures = new Map(); // Number of a destination -> the first byte that failed, and the errno.
let next = 0;
let lanes = LANES;
dmIoGet(1, loop);
for (let i = 0; i < LANES; i += 1) copyNext({ data: new Uint8Array(CHUNK * 512) });

function copyNext(chunk) {
  chunk.sector = next;
  chunk.count = Math.min(CHUNK, source.sectors - next);
  next += chunk.count;
  if (chunk.count > 0) {
    dmIoAsyncVm([{ device: source, ...chunk }], READ, chunk.data, chunkRead, chunk);
  } else if (--lanes === 0) flushAll();
}

function chunkRead(errorBits, chunk) {
  if (!errorBits.isEmpty) stop(`${src}: cannot be read at byte ${chunk.sector * 512}`);
  dmIoAsyncVm(regionsOf(chunk), WRITE, chunk.data, chunkWritten, chunk);
}

/** A destination that has failed stays in the list, empty (R5): so bit i is always names[i]. */
function regionsOf({ sector, count }) {
  return targets.map((device, i) => ({ device, sector, count: failures.has(i) ? 0 : count }));
}

function chunkWritten(errorBits, chunk, { regions }) {
  for (let i = 0; i < targets.length; i += 1) {
    if (!errorBits.test(i)) continue;
    const byte = Math.min(chunk.sector * 512, failures.get(i)?.byte ?? Infinity);
    failures.set(i, { byte, errno: regions[i].error });
  }
  copyNext(chunk);
}

function flushAll() {
  const flush = Object.assign(new DmIoRequest(), {
    op: REQ_OP.FLUSH,
    client: new DmIoClient(loop),
  });
  flush.owner = { dmIoDone: report };
  dmIo(flush, regionsOf({ sector: 0, count: 0 }));
}

function report({ regions }) {
  for (const [i, name] of names.entries()) {
    const { byte = source.bytes, errno = regions[i].error } = failures.get(i) ?? {};
    const end = targets[i].bytes < source.bytes ? `, it ends at byte ${targets[i].bytes}` : '';
    if (errno === 0) continue;
    console.error(`${name}: failed at byte ${byte}: ${errnoName(errno)}${end}`);
    process.exitCode = 1;
  }
  dmIoPut(1);
}

function stop(message) {
  console.error(message);
  process.exit(2);
}
