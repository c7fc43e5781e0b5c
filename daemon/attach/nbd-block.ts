/** What /sys and /proc say about /dev/nbdN: who has connected it, how large it is, who uses it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** `/dev/nbd7` or `nbd7` -> 7; undefined: it is something else, a partition for instance. */
export function nbdIndexOf(text: string): number | undefined {
  const match = /^(?:\/dev\/)?nbd(0|[1-9]\d{0,4})$/.exec(text);
  return match === null ? undefined : Number(match[1]);
}

export function nbdPath(index: number): string {
  return `/dev/nbd${index}`;
}

/** The machine's files, below a root that a test may plant. */
export class NbdBlocks {
  private readonly root: string;

  constructor(root = '/') {
    this.root = root;
  }

  /** The module is there: loaded, or part of the kernel. */
  get isLoaded(): boolean {
    return existsSync(this.path('sys/module/nbd')) || this.indexes().length > 0;
  }

  /** N of every nbd device, ascending. */
  indexes(): readonly number[] {
    return list(this.path('sys/block'))
      .map(nbdIndexOf)
      .filter((index) => index !== undefined)
      .sort((a, b) => a - b);
  }

  /** Of the process that connected it, long gone as a rule; null: it is not connected. */
  pidOf(index: number): number | null {
    const text = read(this.path(`sys/block/nbd${index}/pid`));
    return text === undefined ? null : Number(text);
  }

  sizeBytesOf(index: number): number {
    return Number(read(this.path(`sys/block/nbd${index}/size`)) ?? '0') * 512;
  }

  /** Where the device or a partition of it is mounted, as this process sees mounts. */
  mountsOf(index: number): readonly string[] {
    const { numbers, names } = this.partsOf(index);
    const lines = (read(this.path('proc/self/mountinfo')) ?? '').split('\n');
    const points = lines.flatMap((line) => {
      // proc_pid_mountinfo(5): the source follows the type, behind the optional fields.
      const words = line.split(' ');
      const source = words[words.indexOf('-') + 2] ?? '';
      const isHere = numbers.has(words[2] ?? '') || names.has(source);
      return isHere && words[4] !== undefined ? [unescape(words[4])] : [];
    });
    return [...new Set(points)];
  }

  /** Who would lose it: mounts, swap, devices stacked upon it; in words. */
  usersOf(index: number): readonly string[] {
    const users = this.mountsOf(index).map((point) => `mounted on ${point}`);
    const { names } = this.partsOf(index);
    for (const line of (read(this.path('proc/swaps')) ?? '').split('\n').slice(1)) {
      const [name = ''] = line.split(/\s/);
      if (names.has(unescape(name))) users.push(`swap on ${name}`);
    }
    for (const part of this.foldersOf(index)) {
      users.push(...list(join(part, 'holders')).map((name) => `used by ${name}`));
    }
    return users;
  }

  /** Of one boot of the kernel: what a record says of another is past. */
  get bootId(): string {
    return read(this.path('proc/sys/kernel/random/boot_id')) ?? '';
  }

  /** `major:minor` and /dev names of the device and its partitions. */
  private partsOf(index: number): { numbers: Set<string>; names: Set<string> } {
    const numbers = new Set<string>();
    const names = new Set<string>();
    for (const folder of this.foldersOf(index)) {
      const number = read(join(folder, 'dev'));
      if (number !== undefined) numbers.add(number);
      names.add(`/dev/${folder.slice(folder.lastIndexOf('/') + 1)}`);
    }
    return { numbers, names };
  }

  private foldersOf(index: number): readonly string[] {
    const name = `nbd${index}`;
    const folder = this.path(`sys/block/${name}`);
    const parts = list(folder).filter((entry) => entry.startsWith(`${name}p`));
    return [folder, ...parts.map((part) => join(folder, part))];
  }

  private path(path: string): string {
    return join(this.root, path);
  }
}

/** The kernel writes blanks in these files as `\040`. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(parseInt(code, 8)));
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function list(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
