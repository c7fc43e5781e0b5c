import { splitWords } from '../../../../core/dm/args.ts';
import {
  createMirrorTargetType,
  formatMirrorArgs,
  parseMirrorArgs,
  withMirrorLegs,
} from '../../../../core/dm/target-mirror.ts';
import type { MirrorParts } from '../../../../core/dm/target-mirror.ts';
import { parseTable } from '../../../../core/dm/parse.ts';
import { TableError } from '../../../../core/dm/target.ts';

const SECTORS = 1048576;

function parse(line: string): ReturnType<typeof parseMirrorArgs> {
  return parseMirrorArgs(SECTORS, splitWords(line));
}

const legs64 = Array.from({ length: 64 }, (_, i) => `/dev/leg${i} 0`).join(' ');

describe('a mirror line', () => {
  it('is read as the kernel reads it', () => {
    expect(parse('core 2 1024 nosync 2 /dev/a 0 /dev/b 8 1 handle_errors')).toEqual({
      logType: 'core',
      logDevice: null,
      metadataFolder: null,
      regionSectors: 1024,
      sync: 'nosync',
      legs: [
        { path: '/dev/a', startSector: 0 },
        { path: '/dev/b', startSector: 8 },
      ],
      features: { handleErrors: true, keepLog: false },
    });
  });

  it.each([
    'core 1 1024 2 /dev/a 0 /dev/b 0',
    'core 2 2 sync 3 /dev/a 0 /dev/b 8 /dev/c 16',
    'core 2 1048576 nosync 2 a 0 b 0 1 handle_errors',
    'core 1 1024 2 a 0 b 0 2 handle_errors keep_log',
    `core 1 1024 64 ${legs64}`,
    'disk 2 /dev/log 1024 2 /dev/a 0 /dev/b 0',
    'disk 3 /dev/log 1024 sync 2 a 0 b 0 1 handle_errors',
    'native 1 1024 2 a 0 b 0',
    'native 2 1024 external:/srv/meta 2 a 0 b 0 1 handle_errors',
    'native 3 1024 nosync external:/srv/my\\ meta 2 a 0 b 0',
    'disk 3 /srv/my\\ log 2 nosync 2 a 0 b 0 2 handle_errors keep_log',
  ])('is given back as it was: %.60s', (line) => {
    expect(formatMirrorArgs(parse(line))).toBe(line);
  });

  it.each([
    ['core 1 1024 2 a 0 b 0 0', 'core 1 1024 2 a 0 b 0'],
    [
      'core 1 1024 2 a 0 b 0 2 keep_log handle_errors',
      'core 1 1024 2 a 0 b 0 2 handle_errors keep_log',
    ],
  ])('%s has a shorter form', (line, short) => {
    expect(formatMirrorArgs(parse(line))).toBe(short);
  });

  it.each([
    ['', 'mirror ends before the log type'],
    [
      'userspace 2 x 1024 2 a 0 b 0',
      'unknown mirror log "userspace", known are core, disk, native',
    ],
    ['disk 1 /dev/log 2 a 0 b 0', 'the disk log takes 2 or 3 arguments'],
    ['disk 0 2 a 0 b 0', 'the disk log takes 2 or 3 arguments'],
    ['disk 2 /dev/log 1000 2 a 0 b 0', 'the region size is 1000 sectors, a power of two'],
    ['disk 3 /dev/log 1024 maybe 2 a 0 b 0', '"maybe" after the region size'],
    ['disk 2 a 1024 2 a 0 b 0', 'the log is on a, which is a leg'],
    ['core 2 1024 external:/m 2 a 0 b 0', '"external:/m" after the region size'],
    ['native 2 1024 external: 2 a 0 b 0', 'external: and the path of a folder is wanted'],
    ['native 1 external:/m 2 a 0 b 0', 'the native log takes 1 to 3 arguments'],
    ['native 4 1024 sync x external:/m 2 a 0 b 0', 'the native log takes 1 to 3 arguments'],
    ['core', 'mirror ends before the number of log arguments'],
    ['core x', 'the number of log arguments is "x", a whole number is wanted'],
    ['core 0 2 a 0 b 0', 'the core log takes 1 or 2 arguments'],
    ['core 3 1024 sync x 2 a 0 b 0', 'the core log takes 1 or 2 arguments'],
    ['core 2 1024', 'the number of log arguments is 2, but only 1 arguments follow'],
    ['core 1 1000 2 a 0 b 0', 'the region size is 1000 sectors, a power of two of at least 2'],
    ['core 1 1 2 a 0 b 0', 'the region size is 1 sectors, a power of two of at least 2'],
    ['core 1 0 2 a 0 b 0', 'the region size is 0 sectors'],
    ['core 1 1k 2 a 0 b 0', 'the region size is "1k", a whole number of sectors is wanted'],
    ['core 1 2097152 2 a 0 b 0', "2097152 sectors, more than the target's length 1048576"],
    ['core 2 1024 maybe 2 a 0 b 0', '"maybe" after the region size, sync or nosync is wanted'],
    ['core 1 1024', 'mirror ends before the number of legs'],
    ['core 1 1024 1 a 0', 'a mirror has 2 to 64 legs, not 1'],
    ['core 1 1024 65 a 0 b 0', 'a mirror has 2 to 64 legs, not 65'],
    ['core 1 1024 2x a 0 b 0', 'the number of legs is "2x"'],
    ['core 1 1024 2 a 0', 'mirror ends before the device of leg 1'],
    ['core 1 1024 2 a 0 b', 'mirror ends before the offset of leg 1'],
    ['core 1 1024 2 a 0 b 1k', 'the offset on b is "1k"'],
    ['core 1 1024 2 a 0 a 2048', 'legs 0 and 1 are both a'],
    ['core 1 1024 2 a 0 b 0 1', 'the number of features is 1, but only 0 arguments follow'],
    [
      'core 1 1024 2 a 0 b 0 1 fast',
      'unknown mirror feature "fast", known are handle_errors, keep_log',
    ],
    ['core 1 1024 2 a 0 b 0 1 keep_log', 'the mirror feature keep_log needs handle_errors too'],
    ['core 1 1024 2 a 0 b 0 1 handle_errors c 0', 'mirror has too many arguments, from c on'],
  ])('is refused: %s', (line, message) => {
    expect(() => parse(line)).toThrow(TableError);
    expect(() => parse(line)).toThrow(message);
  });

  it('with a disk log names that device last, with as many sectors as the log has', () => {
    const type = createMirrorTargetType(() => {
      throw new Error('built');
    });
    const { lines } = parseTable('0 2100 mirror disk 2 l 1024 2 a 0 b 512', [type]);
    expect(lines[0]?.spec.devices.map(({ path, sectors }) => [path, sectors])).toEqual([
      ['a', 2100],
      ['b', 2100],
      ['l', 3],
    ]);
  });

  it('reaches its builder with its part of the device', () => {
    const built: MirrorParts[] = [];
    const type = createMirrorTargetType((parts) => {
      built.push(parts);
      throw new Error('built');
    });
    const { lines } = parseTable('0 4096 mirror core 1 1024 2 a 0 my\\ b 512', [type]);
    const spec = lines[0]?.spec;
    expect(spec?.devices).toEqual([
      { path: 'a', startSector: 0, sectors: 4096, writable: true },
      { path: 'my b', startSector: 512, sectors: 4096, writable: true },
    ]);
    expect(() => spec?.build([], {} as Parameters<typeof spec.build>[1])).toThrow('built');
    expect(built).toHaveLength(1);
    expect(built[0]).toMatchObject({ startSector: 0, sectors: 4096, type: { name: 'mirror' } });
  });
});

describe('a mirror line whose legs have changed', () => {
  const line = '0 1048576 mirror core 2 1024 nosync 2 /dev/a 0 /dev/b 8 1 handle_errors';

  it('keeps everything else', () => {
    const legs = [
      { path: '/dev/b', startSector: 8 },
      { path: '/dev/c d', startSector: 0 },
      { path: '/dev/e', startSector: 0 },
    ];
    expect(withMirrorLegs(line, legs)).toBe(
      '0 1048576 mirror core 2 1024 nosync 3 /dev/b 8 /dev/c\\ d 0 /dev/e 0 1 handle_errors',
    );
  });

  it('may be down to one leg, and is read again as such; a new one may not', () => {
    const one = withMirrorLegs(line, [{ path: '/dev/b', startSector: 8 }]);
    expect(one).toBe('0 1048576 mirror core 2 1024 nosync 1 /dev/b 8 1 handle_errors');
    expect(withMirrorLegs(one, [{ path: '/dev/c', startSector: 0 }])).toContain(' 1 /dev/c 0 ');
    expect(() => parse(one.slice('0 1048576 mirror '.length))).toThrow(TableError);
  });
});
