import { DEFAULT_LIMITS } from '../../../../core/block/limits.ts';
import { escapeWord, splitWords } from '../../../../core/dm/args.ts';
import { formatTable, parseTable } from '../../../../core/dm/parse.ts';
import { TableError } from '../../../../core/dm/target.ts';
import { createManualLoop } from '../../../support/manual-loop.ts';
import { mapDevice } from '../../../support/mapped.ts';
import { MemoryDevice } from '../../../support/memory-device.ts';
import { INVALID, VALID } from './tables.ts';

/** The largest device there can be, never asked for anything. */
function hugeDevices(text: string) {
  const loop = createManualLoop();
  const paths = parseTable(text).lines.flatMap(({ spec }) => spec.devices.map(({ path }) => path));
  const device = {
    name: 'huge',
    sectors: 2 ** 44,
    limits: DEFAULT_LIMITS,
    loop,
    submit: () => undefined,
  };
  return { loop, devices: Object.fromEntries(paths.map((path) => [path, device])) };
}

describe('parseTable', () => {
  it.each(Object.entries(VALID))('reads %s, and formatTable gives it back', (_name, texts) => {
    const [text, formatted] = texts;
    const { table } = mapDevice(text, hugeDevices(text));
    expect(formatTable(table)).toBe(formatted);
    const again = mapDevice(formatted, hugeDevices(formatted));
    expect(formatTable(again.table)).toBe(formatted);
  });

  it.each(Object.entries(INVALID))('refuses %s', (_name, [text, message]) => {
    expect(() => parseTable(text)).toThrow(TableError);
    expect(() => parseTable(text)).toThrow(message);
  });

  it('names the devices it will need, and the part of each', () => {
    const { lines, sectors } = parseTable('0 8 linear /dev/a 100\n8 4 zero');
    expect(sectors).toBe(12);
    const reference = { path: '/dev/a', startSector: 100, sectors: 8, writable: true };
    expect(lines.map(({ spec }) => spec.devices)).toEqual([[reference], []]);
  });
});

describe('words', () => {
  it.each(['plain', 'two words', 'tab\there', 'back\\slash', '\\', ' ', '#', 'ü 😀'])(
    'escapeWord and splitWords agree on %j',
    (word) => {
      expect(splitWords(`a ${escapeWord(word)} b`)).toEqual(['a', word, 'b']);
    },
  );

  it('refuses what no line can hold', () => {
    expect(() => escapeWord('')).toThrow('a device path is empty');
    expect(() => escapeWord('a\nb')).toThrow('has a line break');
  });
});

describe('buildTable', () => {
  const loop = createManualLoop();
  const disk = new MemoryDevice({ loop, sectors: 64 });
  const blocks = new MemoryDevice({ loop, sectors: 64, limits: { logicalBlockSize: 4096 } });
  const readOnly = new MemoryDevice({ loop, sectors: 64, limits: { readOnly: true } });
  const devices = { disk, blocks, readOnly };

  it.each([
    ['0 65 linear disk 0', 'line 1: disk has 64 sectors, too small for 65 sectors from 0 on'],
    [
      '0 8 zero\n8 60 linear disk 5',
      'line 2: disk has 64 sectors, too small for 60 sectors from 5',
    ],
    ['0 8 linear readOnly 0', 'line 1: readOnly is read-only'],
    [
      '0 8 linear blocks 4',
      'line 1: blocks has blocks of 4096 bytes, start sector 4 is inside one',
    ],
    ['0 9 zero\n9 8 linear blocks 0', 'line 1: start and length must be multiples of 8 sectors'],
    ['0 12 linear blocks 0', 'line 1: start and length must be multiples of 8 sectors'],
  ])('refuses %j', (text, message) => {
    expect(() => mapDevice(text, { loop, devices })).toThrow(TableError);
    expect(() => mapDevice(text, { loop, devices })).toThrow(message);
  });

  it('takes a device to its last sector', () => {
    expect(mapDevice('0 60 linear disk 4', { loop, devices }).sectors).toBe(60);
  });

  it('stacks limits', () => {
    const noDiscard = new MemoryDevice({ loop, sectors: 64, limits: { maxDiscardSectors: 0 } });
    const text = '0 8 linear blocks 0\n8 8 linear noDiscard 0';
    const { limits } = mapDevice(text, { loop, devices: { blocks, noDiscard } });
    expect(limits.logicalBlockSize).toBe(4096);
    expect(limits.maxDiscardSectors).toBe(0);
    expect(limits.maxWriteZeroesSectors).toBeGreaterThan(0);
  });
});

describe('Table', () => {
  it('finds the target of any sector', () => {
    const lines = Array.from(
      { length: 33 },
      (_, i) => `${i * 3} 3 ${i % 2 === 0 ? 'zero' : 'error'}`,
    );
    const { table } = mapDevice(lines.join('\n'), { loop: createManualLoop(), devices: {} });
    for (const sector of [0, 98, 1, 50, 49, 51, 2, 97, 3]) {
      const entry = table.find(sector);
      expect(entry.startSector).toBe(Math.floor(sector / 3) * 3);
      expect(table.find(sector)).toBe(entry);
    }
    expect(() => table.find(99)).toThrow('a sector outside the table');
    expect(() => table.find(-1)).toThrow('a sector outside the table');
  });
});
