// The rows of the first table, as data. `standard` varies one axis at a time around the plain row
// (one leg, one connection, unix socket, not pinned); `full` is the product of all axes, to be cut
// down with --only; `quick` is a dozen rows that say most.
import type { Legs, Load, Pattern, Pin, Row, Transport } from './types.ts';

export type MatrixName = 'quick' | 'standard' | 'full';

type Sync = Load['sync'];
interface Base {
  readonly pattern: Pattern;
  readonly blockBytes: number;
  readonly depth: number;
}
interface Axes {
  readonly bases: readonly Base[];
  readonly legs?: readonly Legs[];
  readonly connections?: readonly number[];
  readonly transports?: readonly Transport[];
  readonly pins?: readonly Pin[];
  readonly syncs?: readonly Sync[];
}

const KIB = 1024;
const RANDOM: readonly Pattern[] = ['randread', 'randwrite', 'randrw'];

function random(blocks: readonly number[], depths: readonly number[], patterns = RANDOM): Base[] {
  return depths.flatMap((depth) =>
    blocks.flatMap((blockBytes) => patterns.map((pattern) => ({ pattern, blockBytes, depth }))),
  );
}

// As many bytes in flight as saturate a copy, not more: 2 MiB and 4 MiB.
const SEQUENTIAL: readonly Base[] = [
  { pattern: 'read', blockBytes: 128 * KIB, depth: 16 },
  { pattern: 'write', blockBytes: 128 * KIB, depth: 16 },
  { pattern: 'read', blockBytes: 1024 * KIB, depth: 4 },
  { pattern: 'write', blockBytes: 1024 * KIB, depth: 4 },
];
const ALL = [...random([4 * KIB, 16 * KIB], [1, 32, 128]), ...SEQUENTIAL];
const SMALL_1 = random([4 * KIB], [1]);
const SMALL_32 = random([4 * KIB], [32]);
const WRITES: readonly Base[] = [
  ...random([4 * KIB], [1, 32], ['randwrite']),
  ...SEQUENTIAL.filter(({ pattern }) => pattern === 'write'),
];

const STANDARD: readonly Axes[] = [
  { bases: ALL, legs: [1, 2] },
  { bases: [...SMALL_1, ...SMALL_32, ...SEQUENTIAL], legs: [3] },
  { bases: random([4 * KIB, 16 * KIB], [1]), legs: [1, 2], pins: ['same', 'apart'] },
  { bases: [...SMALL_32, ...SEQUENTIAL], pins: ['same', 'apart'] },
  { bases: [...SMALL_32, ...SEQUENTIAL], connections: [4, 8], legs: [1, 2] },
  { bases: [...SMALL_1, ...SMALL_32, ...SEQUENTIAL], transports: ['tcp'] },
  { bases: WRITES, legs: [1, 2, 3], syncs: ['fua', 'flush'] },
];

const FULL: readonly Axes[] = [
  {
    bases: ALL,
    legs: [1, 2, 3],
    connections: [1, 4, 8],
    transports: ['unix', 'tcp'],
    pins: ['free', 'same', 'apart'],
    syncs: ['none', 'fua', 'flush'],
  },
];

const READ_WRITE: readonly Pattern[] = ['randread', 'randwrite'];
const QUICK: readonly Axes[] = [
  { bases: random([4 * KIB], [1], READ_WRITE), pins: ['same', 'apart'] },
  { bases: random([4 * KIB], [32], READ_WRITE), legs: [1, 2] },
  { bases: SEQUENTIAL.filter(({ blockBytes }) => blockBytes === 128 * KIB), legs: [1, 2] },
  { bases: random([4 * KIB], [32], ['randread']), transports: ['tcp'] },
  { bases: random([4 * KIB], [32], ['randwrite']), syncs: ['fua', 'flush'] },
];

const MATRICES: Readonly<Record<MatrixName, readonly Axes[]>> = {
  quick: QUICK,
  standard: STANDARD,
  full: FULL,
};

/** The rows of a matrix, each name once, in the order of the table. */
export function rowsOf(matrix: MatrixName): readonly Row[] {
  const rows = MATRICES[matrix].flatMap(product);
  return [...new Map(rows.map((row) => [row.name, row])).values()];
}

export function namesMatching<T extends { readonly name: string }>(
  rows: readonly T[],
  only: RegExp | undefined,
): readonly T[] {
  return only === undefined ? rows : rows.filter(({ name }) => only.test(name));
}

function product(axes: Axes): Row[] {
  const { bases, legs = [1], connections = [1], transports = ['unix'] } = axes;
  const { pins = ['free'], syncs = ['none'] } = axes;
  const rows: Row[] = [];
  for (const sync of syncs)
    for (const pin of pins)
      for (const transport of transports)
        for (const count of connections)
          for (const legCount of legs)
            for (const base of bases) {
              // Nothing to make durable: the row would be the plain one under another name.
              if (sync !== 'none' && isReadOnly(base.pattern)) continue;
              rows.push(rowOf(base, { legs: legCount, connections: count, transport, pin, sync }));
            }
  return rows;
}

export function isReadOnly(pattern: Pattern): boolean {
  return pattern === 'read' || pattern === 'randread' || pattern === 'idle';
}

interface Place {
  readonly legs: Legs;
  readonly connections: number;
  readonly transport: Transport;
  readonly pin: Pin;
  readonly sync: Sync;
}

export const PLAIN: Place = {
  legs: 1,
  connections: 1,
  transport: 'unix',
  pin: 'free',
  sync: 'none',
};

export function rowOf(base: Base, place: Place): Row {
  const { legs, connections, transport, pin, sync } = place;
  const client = sync === 'fua' ? 'own' : 'fio';
  return {
    name: nameOf(base, place),
    load: { ...base, connections, sync, client },
    legs,
    transport,
    pin,
  };
}

/** What differs from the plain row is named: `randwrite-4k-d32`, `read-128k-d16-c4-2legs-tcp-apart`. */
function nameOf({ pattern, blockBytes, depth }: Base, place: Place): string {
  const block =
    blockBytes % (1024 * KIB) === 0 ? `${blockBytes / 1024 / KIB}m` : `${blockBytes / KIB}k`;
  return [
    `${pattern}-${block}-d${depth}`,
    ...(place.connections === 1 ? [] : [`c${place.connections}`]),
    ...(place.legs === 1 ? [] : [`${place.legs}legs`]),
    ...(place.sync === 'none' ? [] : [place.sync]),
    ...(place.transport === 'unix' ? [] : [place.transport]),
    ...(place.pin === 'free' ? [] : [place.pin]),
  ].join('-');
}
