// How a user of dmiod/core brings files: a loop on Node's event loop, and a BlockDevice on node:fs.
// Two kinds: `FileDevice` works in Node's thread pool, many bios at once; `SyncFileDevice` works in the
// calling thread, and so can end while a synchronous service blocks it.
import * as fs from 'node:fs';
import { bioError, DEFAULT_LIMITS, ERRNO, Loop, MAX_SECTORS, REQ_FLAG, REQ_OP } from 'dmiod/core';

/** A loop that runs soon after something has ended. Nothing can end while the thread is blocked. */
export function makeLoop() {
  const loop = new Loop({ wake: () => setImmediate(() => loop.run()), block: () => false });
  return loop;
}

/** What both kinds share: the contract's fields, the file, and how a bio ends. */
class OpenFile {
  /** `growTo`: bytes to which a new or empty file may grow. Any other keeps its size. */
  constructor(loop, path, flags, growTo = 0) {
    this.loop = loop;
    this.name = path;
    this.fd = fs.openSync(path, flags, 0o666);
    this.stat = fs.fstatSync(this.fd);
    this.isNew = this.stat.isFile() && this.stat.size === 0;
    this.bytes = this.isNew ? growTo : sizeOf(this.stat);
    this.sectors = Math.min(Math.ceil(this.bytes / 512), MAX_SECTORS);
    // Without DISCARD and WRITE_ZEROES: dm-io answers both with EOPNOTSUPP (R19).
    const none = { maxDiscardSectors: 0, maxWriteZeroesSectors: 0, discardZeroes: false };
    this.limits = { ...DEFAULT_LIMITS, ...none, readOnly: flags === 'r' };
  }

  close() {
    fs.closeSync(this.fd);
  }

  /** The one rule of ending: from the loop, never from inside submit. */
  end(bio, error) {
    bio.error = error;
    this.loop.defer(bio);
  }
}

/** Bytes; a character device (/dev/null, /dev/full) has no end. */
function sizeOf(stat) {
  if (stat.isCharacterDevice()) return Infinity;
  if (!stat.isBlockDevice()) return stat.size;
  const [major, minor] = [
    (stat.rdev >> 8) & 0xfff,
    (stat.rdev & 0xff) | ((stat.rdev >> 12) & ~0xff),
  ];
  return 512 * Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'ascii'));
}

const errnoOf = (error) => (error === null ? 0 : -error.errno || ERRNO.EIO);
const wantsSync = (bio) => bio.op === REQ_OP.FLUSH || (bio.flags & REQ_FLAG.FUA) !== 0;

/**
 * The pieces of a READ or WRITE and their places in the file: [page, offset, length, position]. What a
 * WRITE has behind `end`, inside the last sector of a file of odd length, is left out.
 */
function* piecesOf({ op, sector, sectors, vecs }, end) {
  let position = sector * 512;
  let left = op === REQ_OP.FLUSH ? 0 : sectors * 512;
  if (op === REQ_OP.WRITE) left = Math.min(left, end - position);
  for (let i = 0; left > 0; i += 1) {
    const length = Math.min(vecs[i].length, left);
    yield [vecs[i].page, vecs[i].offset, length, position];
    position += length;
    left -= length;
  }
}

export class FileDevice extends OpenFile {
  submit(bio) {
    const error = bioError(this, bio);
    if (error === 0) this.next(bio, piecesOf(bio, this.bytes));
    else this.end(bio, error);
  }

  next(bio, pieces) {
    const { value, done } = pieces.next();
    if (!done) this.move(bio, pieces, ...value);
    else if (!wantsSync(bio) || this.stat.isCharacterDevice()) this.end(bio, 0);
    else fs.fsync(this.fd, (error) => this.end(bio, errnoOf(error)));
  }

  /** One piece, in however many steps the kernel takes it. */
  move(bio, pieces, page, offset, length, position) {
    const step = bio.op === REQ_OP.READ ? fs.read : fs.write;
    step(this.fd, page, offset, length, position, (error, count) => {
      if (error !== null) this.end(bio, errnoOf(error));
      else if (count === length) this.next(bio, pieces);
      else if (count > 0) {
        this.move(bio, pieces, page, offset + count, length - count, position + count);
      } else if (bio.op === REQ_OP.READ) {
        page.fill(0, offset, offset + length); // Behind the end of a file of odd length.
        this.next(bio, pieces);
      } else this.end(bio, ERRNO.EIO);
    });
  }
}

export class SyncFileDevice extends OpenFile {
  submit(bio) {
    let error = bioError(this, bio);
    try {
      if (error === 0) this.perform(bio);
    } catch (failed) {
      error = errnoOf(failed);
    }
    this.end(bio, error);
  }

  perform(bio) {
    const step = bio.op === REQ_OP.READ ? fs.readSync : fs.writeSync;
    for (let [page, offset, length, position] of piecesOf(bio, this.bytes)) {
      while (length > 0) {
        const count = step(this.fd, page, offset, length, position);
        if (count === 0 && bio.op === REQ_OP.WRITE) throw new Error('the file takes no more');
        if (count === 0) page.fill(0, offset, offset + length);
        offset += count;
        position += count;
        length -= count === 0 ? length : count;
      }
    }
    if (wantsSync(bio) && !this.stat.isCharacterDevice()) fs.fsyncSync(this.fd);
  }
}

/** Stands for a file that cannot be opened: every bio to it fails with that errno. */
export class BrokenDevice {
  constructor(loop, path, error) {
    Object.assign(this, { loop, name: path, sectors: MAX_SECTORS, limits: DEFAULT_LIMITS });
    this.errno = errnoOf(error);
  }

  submit(bio) {
    bio.error = this.errno;
    this.loop.defer(bio);
  }

  close() {}
}

/** `mode`: 'r', or 'r+' for a file that is made when it is missing. Fails bio by bio, never here. */
export function openFile(loop, path, mode, growTo = 0, Device = FileDevice) {
  try {
    const flags = mode === 'r' ? 'r' : fs.constants.O_RDWR | fs.constants.O_CREAT;
    return new Device(loop, path, flags, growTo);
  } catch (error) {
    return new BrokenDevice(loop, path, error);
  }
}
