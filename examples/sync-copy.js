// The synchronous services: the calling thread blocks until every region of a call has ended.
//
//   node examples/sync-copy.js SRC DST1 [DST2...]
//
// A chunk is sixteen bio vectors of a page each. Every destination gets all of it; then it is read back
// in parts, each vector from the next destination that is well, into one memory (R22), and compared.
// Exit status: 0 every copy is whole and durable; 1 some are not; 2 usage, or SRC cannot be read.
import { BioVec, dmIo, DmIoClient, dmIoGet, dmIoPut, DmIoRequest, dmIoSyncBvec } from 'dmiod/core';
import { errnoName, inParts, PAGE_SIZE, READ, REQ_OP, WRITE } from 'dmiod/core';
import { makeLoop, openFile } from './file-device.js';

const PAGES = 16;
const PAGE_SECTORS = PAGE_SIZE / 512;
const [src, ...names] = process.argv.slice(2);
if (names.length < 1 || names.length > 64) stop('usage: sync-copy.js SRC DST1 [DST2...]');

const loop = makeLoop();
const source = openFile(loop, src, 'r');
if (source.errno) stop(`${src}: ${errnoName(source.errno)}`);
let targets = names.map((name) => openFile(loop, name, 'r+', source.bytes));
const sent = makePages();
const found = makePages();
dmIoGet(1, loop);
for (let sector = 0; sector < source.sectors; sector += PAGES * PAGE_SECTORS) {
  const count = Math.min(PAGES * PAGE_SECTORS, source.sectors - sector);
  const { ret, errnos } = dmIoSyncBvec([{ device: source, sector, count }], READ, sent);
  if (ret !== 0) stop(`${src}: failed at byte ${sector * 512}: ${errnoName(errnos[0])}`);
  const regions = targets.map((device) => ({ device, sector, count }));
  dropFailed(dmIoSyncBvec(regions, WRITE, sent).errnos, sector);
  compare(sector, count);
}
const flush = Object.assign(new DmIoRequest(), { op: REQ_OP.FLUSH, client: new DmIoClient(loop) });
const everything = targets.map((device) => ({ device, sector: 0, count: 0 }));
if (dmIo(flush, everything) !== 0) {
  const errnos = flush.regions.map(({ error }) => error);
  dropFailed(errnos, source.sectors);
}
dmIoPut(1);
process.exitCode = targets.length === names.length ? 0 : 1;

/** Takes out the destinations whose region failed; `errnos[i]` belongs to targets[i] (R25). */
function dropFailed(errnos, sector) {
  targets = targets.filter(({ name }, i) => {
    if (errnos[i] === 0) return true;
    console.error(`${name}: failed at byte ${sector * 512}: ${errnoName(errnos[i])}`);
    return false;
  });
}

function compare(start, count) {
  const alive = targets;
  const parts = [];
  for (let done = 0; done < count && alive.length > 0; done += PAGE_SECTORS) {
    const device = alive[parts.length % alive.length];
    parts.push({ device, sector: start + done, count: Math.min(PAGE_SECTORS, count - done) });
  }
  for (const [n, part] of inParts(parts).entries()) {
    const { ret } = dmIoSyncBvec([part], READ, found); // A READ takes one region (R1).
    const bytes = part.count * 512;
    const differs = Buffer.compare(sent[n].page.slice(0, bytes), found[n].page.slice(0, bytes));
    const isEndless = part.device.stat.isCharacterDevice();
    if (ret === 0 && (differs === 0 || isEndless)) continue;
    console.error(`${part.device.name}: reads back differently at byte ${part.sector * 512}`);
    targets = targets.filter((device) => device !== part.device);
  }
}

function makePages() {
  return Array.from({ length: PAGES }, () => new BioVec(new Uint8Array(PAGE_SIZE), 0, PAGE_SIZE));
}

function stop(message) {
  console.error(message);
  process.exit(2);
}
