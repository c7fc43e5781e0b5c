// Exports and their table: names, sizes, flags, and what they say while they shut down.
import { Export, ExportError } from '../../../core/export/export.ts';
import { ExportTable } from '../../../core/export/export-table.ts';
import { nameFlags, TRANSMISSION_FLAG } from '../../../core/nbd/proto.ts';
import { createManualLoop } from '../../support/manual-loop.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const loop = createManualLoop();
const device = new MemoryDevice({ loop, sectors: 2048 });
const named = (name: string): Export => new Export({ name, device });

describe('an export', () => {
  it('offers what is true of every device', () => {
    const flags =
      'HAS_FLAGS|SEND_FLUSH|SEND_FUA|SEND_TRIM|SEND_WRITE_ZEROES|CAN_MULTI_CONN|SEND_CACHE|SEND_FAST_ZERO';
    expect(nameFlags(TRANSMISSION_FLAG, named('a').transmissionFlags)).toBe(flags);
    const readOnly = new Export({ name: 'a', device, readOnly: true });
    expect(nameFlags(TRANSMISSION_FLAG, readOnly.transmissionFlags)).toContain('READ_ONLY');
  });

  it('is as long as its device, in whole blocks, and prefers 4096 or more', () => {
    expect(named('a').sizeBytes).toBe(2 ** 20);
    expect(named('a').preferredBlockBytes).toBe(4096);
    const limits = { logicalBlockSize: 65_536 };
    const odd = new MemoryDevice({ loop, sectors: 2047, limits });
    const coarse = new Export({ name: 'a', device: odd });
    expect(coarse.sizeBytes).toBe(2 ** 20 - 65_536);
    expect(coarse.preferredBlockBytes).toBe(65_536);
  });

  it.each([
    ['', 'without a name'],
    ['a\0b', 'has a NUL'],
    ['\udc00', 'not text'],
    ['x'.repeat(4097), 'longer than 4096 bytes'],
    ['é'.repeat(2049), 'longer than 4096 bytes'],
  ])('cannot be named %j', (name, why) => {
    expect(() => named(name)).toThrow(ExportError);
    expect(() => named(name)).toThrow(why);
  });

  it('cannot have a description that is no text', () => {
    expect(() => new Export({ name: 'a', device, description: '\0' })).toThrow('the description');
  });
});

describe('a table of exports', () => {
  it('finds by name, and by none when there is one', () => {
    const table = new ExportTable();
    expect(table.find('')).toBeUndefined();
    const [a, b] = [named('a'), named('b')];
    table.add(a);
    expect(table.find('')).toBe(a);
    table.add(b);
    expect(table.find('')).toBeUndefined();
    expect(table.find('b')).toBe(b);
    expect(table.list()).toEqual([a, b]);
    expect(() => table.add(named('b'))).toThrow('there is already an export named "b"');
    expect(table.remove('a')).toBe(true);
    expect(table.remove('a')).toBe(false);
    expect(table.find('')).toBe(b);
  });

  it('shuts all of them down', async () => {
    const table = new ExportTable();
    const [a, b] = [named('a'), named('b')];
    table.add(a);
    table.add(b);
    a.requestStarted();
    let over = false;
    const shutdown = table.beginShutdown().then(() => {
      over = true;
    });
    expect([table.isShuttingDown, a.isShuttingDown, b.isShuttingDown]).toEqual([true, true, true]);
    expect(() => a.requestStarted()).toThrow('after the shutdown');
    await b.beginShutdown();
    expect(over).toBe(false);
    a.requestEnded();
    await shutdown;
    expect(() => a.requestEnded()).toThrow('more requests ended');
  });
});
