// How a user of dmiod/core brings files: a loop on Node's event loop, and a BlockDevice on node:fs. It
// works in Node's thread pool, many bios at once; but what a synchronous service sends (flagged SYNC) it
// does at once in the calling thread, since that is blocked until it ends.
import * as fs from 'node:fs';
import { bioError, DEFAULT_LIMITS, ERRNO, Loop, MAX_SECTORS, REQ_FLAG, REQ_OP } from 'dmiod/core';

/** A loop that runs soon after something has ended. Nothing can end while the thread is blocked. */
export function makeLoop() {
  const loop = new Loop({ wake: () => setImmediate(() => loop.run()), block: () => false });
  return loop;
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

export class FileDevice {
  /** `growTo`: bytes to which a new or empty file may grow. Any other keeps its size. */
  constructor(loop, path, flags, growTo = 0) {
    this.loop = loop;
    this.name = path;
    this.fd = fs.openSync(path, flags, 0o666);
    this.stat = fs.fstatSync(this.fd);
    const isNew = this.stat.isFile() && this.stat.size === 0;
    this.bytes = isNew ? growTo : sizeOf(this.stat);
    this.sectors = Math.min(Math.ceil(this.bytes / 512), MAX_SECTORS);
    // Without DISCARD and WRITE_ZEROES: dm-io answers both with EOPNOTSUPP (R19).
    const none = { maxDiscardSectors: 0, maxWriteZeroesSectors: 0, discardZeroes: false };
    this.limits = { ...DEFAULT_LIMITS, ...none, readOnly: flags === 'r' };
  }

  /** Somebody's thread waits for a bio with SYNC (R12): nothing else could end it meanwhile. */
  submit(bio) {
    const error = bioError(this, bio);
    if (error !== 0) this.end(bio, error);
    else if ((bio.flags & REQ_FLAG.SYNC) !== 0) this.performNow(bio);
    else this.next(bio, piecesOf(bio, this.bytes));
  }

  /** The one rule of ending: from the loop, never from inside submit. */
  end(bio, error) {
    bio.error = error;
    this.loop.defer(bio);
  }

  next(bio, pieces) {
    const { value, done } = pieces.next();
    if (!done) this.move(bio, pieces, ...value);
    else if (!this.wantsFsync(bio)) this.end(bio, 0);
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

  /** The same on the calling thread. */
  performNow(bio) {
    const step = bio.op === REQ_OP.READ ? fs.readSync : fs.writeSync;
    try {
      for (let [page, offset, length, position] of piecesOf(bio, this.bytes)) {
        for (let count = 1; length > 0 && count > 0; length -= count) {
          count = step(this.fd, page, offset, length, position);
          offset += count;
          position += count;
        }
        if (bio.op === REQ_OP.READ) page.fill(0, offset, offset + length);
        else if (length > 0) throw Object.assign(new Error('full'), { errno: -ERRNO.EIO });
      }
      if (this.wantsFsync(bio)) fs.fsyncSync(this.fd);
      this.end(bio, 0);
    } catch (error) {
      this.end(bio, errnoOf(error));
    }
  }

  wantsFsync(bio) {
    const durable = bio.op === REQ_OP.FLUSH || (bio.flags & REQ_FLAG.FUA) !== 0;
    return durable && !this.stat.isCharacterDevice();
  }

  close() {
    fs.closeSync(this.fd);
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
export function openFile(loop, path, mode, growTo = 0) {
  try {
    const flags = mode === 'r' ? 'r' : fs.constants.O_RDWR | fs.constants.O_CREAT;
    return new FileDevice(loop, path, flags, growTo);
  } catch (error) {
    return new BrokenDevice(loop, path, error);
  }
}
