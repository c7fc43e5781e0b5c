import { costRows } from '../../bench/costs.ts';
import { namesMatching, rowsOf } from '../../bench/matrix.ts';
import { SERVERS } from '../../bench/servers.ts';

const NAMES = { quick: rowsOf('quick'), standard: rowsOf('standard'), full: rowsOf('full') };

describe('rowsOf', () => {
  it.each(['quick', 'standard', 'full'] as const)('%s: no name twice', (matrix) => {
    const names = NAMES[matrix].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(10);
  });

  it('quick and standard are parts of full', () => {
    const full = new Map(NAMES.full.map((row) => [row.name, row]));
    for (const row of [...NAMES.quick, ...NAMES.standard]) expect(full.get(row.name)).toEqual(row);
  });

  it('has every value of every axis that was asked for, already in standard', () => {
    const rows = NAMES.standard;
    const values = (of: (row: (typeof rows)[number]) => unknown): unknown[] => [
      ...new Set(rows.map(of)),
    ];
    const random = rows.filter(({ load }) => load.pattern.startsWith('rand'));
    const plain = random.map(({ load }) => `${load.pattern} ${load.blockBytes} ${load.depth}`);
    expect(new Set(plain).size).toBe(3 * 2 * 3);
    expect(values(({ load }) => load.pattern)).toHaveLength(5);
    expect(values(({ load }) => load.connections)).toEqual([1, 4, 8]);
    expect(values(({ legs }) => legs)).toEqual([1, 2, 3]);
    expect(values(({ transport }) => transport)).toEqual(['unix', 'tcp']);
    expect(values(({ pin }) => pin)).toEqual(['free', 'same', 'apart']);
    expect(values(({ load }) => load.sync)).toEqual(['none', 'fua', 'flush']);
  });

  it('names what differs from the plain row', () => {
    const names = NAMES.full.map(({ name }) => name);
    expect(names).toContain('randread-4k-d32');
    expect(names).toContain('write-1m-d4-c8-3legs-flush-tcp-apart');
  });

  it('sends FUA with our own client and asks no reader to be durable', () => {
    for (const { name, load } of NAMES.full) {
      if (load.sync !== 'none') expect(name).toMatch(/write|rw/);
      expect(load.client).toBe(load.sync === 'fua' ? 'own' : 'fio');
    }
  });
});

describe('namesMatching', () => {
  it('takes all without an expression, and what matches with one', () => {
    expect(namesMatching(NAMES.quick, undefined)).toBe(NAMES.quick);
    const found = namesMatching(NAMES.standard, /^randread-4k-d1(-2legs)?$/);
    expect(found.map(({ name }) => name)).toEqual(['randread-4k-d1', 'randread-4k-d1-2legs']);
    expect(namesMatching(NAMES.standard, /nonsense/)).toEqual([]);
  });
});

describe('costRows', () => {
  it('has no name twice, and none of the first table', () => {
    const names = costRows(SERVERS).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const rows = new Set(NAMES.full.map(({ name }) => name));
    expect(names.filter((name) => rows.has(name))).toEqual([]);
  });

  it('asks of others only what they have', () => {
    const others = SERVERS.filter(({ isOurs }) => !isOurs);
    const names = costRows(others).map(({ name }) => name);
    expect(names).toContain('memory-c256');
    expect(names.filter((name) => /^(mirror|log)-/.test(name))).toEqual([]);
    expect(costRows(others).map((row) => row.name)).toEqual(
      costRows(others.filter(({ id }) => id !== 'limit')).map((row) => row.name),
    );
  });
});

describe('servers', () => {
  it('compares a linear row with four others and the limit, a mirror with quorum', () => {
    const of = (name: string): readonly string[] => {
      const row = NAMES.standard.find((each) => each.name === name);
      return row === undefined ? [] : SERVERS.filter((s) => s.serves(row)).map(({ id }) => id);
    };
    expect(of('randread-4k-d32')).toEqual([
      'dmiod-uring',
      'dmiod-node',
      'nbdkit',
      'qemu-nbd',
      'qemu-nbd-none',
      'nbd-server',
      'limit',
    ]);
    expect(of('randread-4k-d32-2legs')).toEqual(['dmiod-uring', 'dmiod-node', 'qemu-quorum']);
  });
});
