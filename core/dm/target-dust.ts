import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import type { Log } from '../base/ports.ts';
import { isPowerOfTwo, SECTOR_SIZE } from '../base/units.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { stackLimits } from '../block/limits.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import { REQ_OP } from '../block/op.ts';
import { escapeWord, parseCount, parseSectors } from './args.ts';
import { LinearRoute, Remapper } from './remap.ts';
import { TableError } from './target.ts';
import type { DeviceReference, Target, TargetEnvironment, TargetType } from './target.ts';

const BLOCK_BYTES_MIN = SECTOR_SIZE;
const BLOCK_BYTES_MAX = 2 ** 30;
const WRITE_FAILS_MAX = 255;

/** `dust DEV OFFSET BLOCK_BYTES`: a disk with bad blocks. Reading one fails, writing it heals it. */
export const dustTargetType: TargetType = {
  name: 'dust',
  version: [1, 0, 0],
  parse(startSector, sectors, args) {
    const [path, offsetWord, blockWord] = args;
    if (path === undefined || offsetWord === undefined || blockWord === undefined) {
      throw wrongCount(args.length);
    }
    if (args.length > 3) throw wrongCount(args.length);
    const offset = parseSectors(offsetWord, `the offset on ${path}`);
    const blockBytes = parseCount(blockWord, 'the block size');
    const fits = blockBytes >= BLOCK_BYTES_MIN && blockBytes <= BLOCK_BYTES_MAX;
    if (!fits || !isPowerOfTwo(blockBytes)) {
      throw new TableError(
        `the block size is ${blockBytes} bytes, ` +
          `a power of two from ${BLOCK_BYTES_MIN} to ${BLOCK_BYTES_MAX} is wanted`,
      );
    }
    const reference = { path, startSector: offset, sectors, writable: true };
    return {
      type: dustTargetType,
      devices: [reference],
      build: ([device], environment) => {
        assert(device !== undefined, 'dust stands on one device');
        return new DustTarget({ startSector, sectors, blockBytes, reference, device }, environment);
      },
    };
  },
};

function wrongCount(count: number): TableError {
  return new TableError(`dust takes 3 arguments, DEV OFFSET BLOCK_BYTES, there are ${count}`);
}

interface DustParts {
  readonly startSector: number;
  readonly sectors: number;
  readonly blockBytes: number;
  readonly reference: DeviceReference;
  readonly device: BlockDevice;
}

/** The kernel's words; `dust_query_block` and its sister are its function names, which it prints. */
class DustTarget implements Target {
  readonly type = dustTargetType;
  readonly limits: QueueLimits;
  private readonly parts: DustParts;
  private readonly loop: Loop;
  private readonly log: Log;
  private readonly remapper: Remapper;
  private readonly blockSectors: number;
  /** Bad blocks, and how many writes of each will fail before one heals it. */
  private readonly bad = new Map<number, number>();
  private enabled = false;
  private quiet = false;

  constructor(parts: DustParts, { loop, log }: TargetEnvironment) {
    const { startSector, blockBytes, reference, device } = parts;
    this.limits = stackLimits([device.limits]);
    this.parts = parts;
    this.loop = loop;
    this.log = log;
    this.blockSectors = blockBytes / SECTOR_SIZE;
    const route = new LinearRoute(device, reference.startSector - startSector);
    this.remapper = new Remapper(loop, route);
  }

  map(bio: Bio): void {
    if (this.enabled && bio.op !== REQ_OP.FLUSH && this.bad.size > 0 && this.hits(bio)) {
      bio.error = ERRNO.EIO;
      this.loop.defer(bio);
    } else {
      this.remapper.map(bio);
    }
  }

  message(words: readonly string[]): string {
    const [name = '', ...args] = words;
    const handler = this.handlerOf(name.toLowerCase());
    if (handler === undefined) {
      throw new TableError(`unknown message ${JSON.stringify(name)} for dust, ${MESSAGES}`);
    }
    return handler(args);
  }

  table(): string {
    const { reference, blockBytes } = this.parts;
    return `${escapeWord(reference.path)} ${reference.startSector} ${blockBytes}`;
  }

  status(): string {
    const mode = this.enabled ? 'fail_read_on_bad_block' : 'bypass';
    const voice = this.quiet ? 'quiet' : 'verbose';
    return `${escapeWord(this.parts.reference.path)} ${mode} ${voice}`;
  }

  /** True: the bio meets a bad block and fails. A write that does not fail heals all it covers. */
  private hits(bio: Bio): boolean {
    const first = Math.floor((bio.sector - this.parts.startSector) / this.blockSectors);
    const end = bio.sector - this.parts.startSector + bio.sectors - 1;
    const last = Math.floor(end / this.blockSectors);
    const hit = this.badBetween(first, last);
    if (bio.op === REQ_OP.READ) return hit.length > 0;
    let fails = false;
    for (const block of hit) {
      const left = this.bad.get(block) ?? 0;
      if (left === 0) continue;
      this.bad.set(block, left - 1);
      fails = true;
    }
    if (!fails) for (const block of hit) this.heal(block);
    return fails;
  }

  /** The list or the range is walked, whichever is shorter. */
  private badBetween(first: number, last: number): number[] {
    if (last - first >= this.bad.size) {
      return [...this.bad.keys()].filter((block) => block >= first && block <= last);
    }
    const found: number[] = [];
    for (let block = first; block <= last; block += 1) if (this.bad.has(block)) found.push(block);
    return found;
  }

  private heal(block: number): void {
    this.bad.delete(block);
    this.say(`block ${block} removed from badblocklist by write`);
  }

  private handlerOf(name: string): ((args: readonly string[]) => string) | undefined {
    switch (name) {
      case 'addbadblock':
        return (args) => this.addBadBlock(args);
      case 'removebadblock':
        return (args) => this.removeBadBlock(this.blockOf(name, args));
      case 'queryblock':
        return (args) => this.queryBlock(this.blockOf(name, args));
      case 'countbadblocks':
        return (args) =>
          this.alone(name, args, `countbadblocks: ${this.bad.size} badblock(s) found`);
      case 'listbadblocks':
        return (args) => this.alone(name, args, [...this.bad.keys()].sort(byNumber).join('\n'));
      case 'clearbadblocks':
        return (args) => this.clear(name, args);
      case 'enable':
      case 'disable':
        return (args) => this.setEnabled(name, args);
      case 'quiet':
        return (args) => this.toggleQuiet(name, args);
      default:
        return undefined;
    }
  }

  private addBadBlock([word, failsWord, ...more]: readonly string[]): string {
    const block = this.blockOf('addbadblock', [word ?? '', ...more]);
    const fails = failsWord === undefined ? 0 : parseCount(failsWord, 'the writes to fail');
    if (fails > WRITE_FAILS_MAX) {
      throw new TableError(`the writes to fail are ${fails}, at most ${WRITE_FAILS_MAX} can be`);
    }
    if (this.bad.has(block)) throw new TableError(`block ${block} already in badblocklist`);
    this.bad.set(block, fails);
    this.say(`badblock added at block ${block} with write fail count ${fails}`);
    return '';
  }

  private removeBadBlock(block: number): string {
    if (!this.bad.delete(block)) throw new TableError(`block ${block} not found in badblocklist`);
    this.say(`badblock removed at block ${block}`);
    return '';
  }

  private queryBlock(block: number): string {
    const found = this.bad.has(block) ? 'found' : 'not found';
    return `dust_query_block: block ${block} ${found} in badblocklist`;
  }

  private clear(name: string, args: readonly string[]): string {
    const had = this.bad.size > 0;
    this.alone(name, args, '');
    this.bad.clear();
    return `dust_clear_badblocks: ${had ? 'badblocks cleared' : 'no badblocks found'}`;
  }

  private setEnabled(name: string, args: readonly string[]): string {
    this.alone(name, args, '');
    this.enabled = name === 'enable';
    this.say(`${this.enabled ? 'enabling' : 'disabling'} read failures on bad sectors`);
    return '';
  }

  private toggleQuiet(name: string, args: readonly string[]): string {
    this.alone(name, args, '');
    this.quiet = !this.quiet;
    return '';
  }

  private alone(name: string, args: readonly string[], answer: string): string {
    if (args.length > 0)
      throw new TableError(`${name} takes no argument, there are ${args.length}`);
    return answer;
  }

  private blockOf(name: string, [word, ...more]: readonly string[]): number {
    if (word === undefined || word === '' || more.length > 0) {
      throw new TableError(`${name} takes one block number`);
    }
    const block = parseSectors(word, 'the block');
    const blocks = Math.ceil(this.parts.sectors / this.blockSectors);
    if (block >= blocks) {
      throw new TableError(`block ${block}: the blocks are 0 to ${blocks - 1}`);
    }
    return block;
  }

  private say(message: string): void {
    if (!this.quiet) this.log.info({ leg: this.parts.reference.path }, `dust: ${message}`);
  }
}

const MESSAGES =
  'known are addbadblock, removebadblock, queryblock, countbadblocks, listbadblocks, ' +
  'clearbadblocks, enable, disable, quiet';

function byNumber(a: number, b: number): number {
  return a - b;
}
