import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { ERRNO } from '../../../core/base/errno.ts';
import type { MirrorRecord } from '../../../core/mirror/record.ts';
import type {
  DeviceIdentity,
  DeviceRecord,
  DeviceRecorder,
} from '../../../daemon/device-record.ts';
import { StateStore } from '../../../daemon/state-store.ts';
import { tempDirectory } from '../../support/temp.ts';

const IDENTITY: DeviceIdentity = {
  name: 'data',
  source: 'create',
  table: ['0 8 mirror core 1 2 2 /a 0 /b 0'],
  readOnly: false,
  readPolicy: 'least-pending',
  setUuid: null,
  cache: { '/a': 'none' },
};

function mirror(generation: number): MirrorRecord {
  const errors = { read: 0, write: 1, flush: 0, resync: 0 };
  const rest = { startSector: 0, writeMostly: false, failedByHand: false, replaces: null, errors };
  return {
    generation,
    clean: false,
    legs: [
      { path: '/a', slot: 0, state: 'in-sync', reason: null, ...rest },
      { path: '/b', slot: 1, state: 'failed', reason: 'write error: EIO', ...rest },
    ],
  };
}

function record(recorder: DeviceRecorder, generation: number): Promise<number> {
  return new Promise((done) => {
    recorder.record(mirror(generation), done);
  });
}

const root = tempDirectory();
let folder = '';
let file = '';
let store: StateStore;
let count = 0;

beforeEach(() => {
  count += 1;
  folder = join(root, String(count));
  file = join(folder, 'devices/data.json');
  store = StateStore.open(folder);
});
afterEach(() => {
  store.close();
});

describe('the state directory', () => {
  it('is made, and belongs to one daemon', () => {
    expect(readdirSync(folder).sort()).toEqual(['devices', 'lock']);
    expect(() => StateStore.open(folder)).toThrow(
      `state directory ${folder}: another daemon uses it`,
    );
    store.close();
    store = StateStore.open(folder);
    expect(store.load()).toEqual([]);
  });

  it('that cannot be one is refused in one line', () => {
    writeFileSync(join(root, 'file'), '');
    expect(() => StateStore.open(join(root, 'file'))).toThrow(
      `state directory ${root}/file: not a directory`,
    );
  });

  it('gives back what was recorded', async () => {
    expect(await record(store.recorder(IDENTITY, null), 5)).toBe(0);
    expect(store.load()).toEqual([
      { name: 'data', record: { format: 1, ...IDENTITY, mirror: mirror(5) }, damage: null },
    ]);
    store.forget('data');
    expect(store.load()).toEqual([]);
  });

  it('names in its table the legs that are in the set now', async () => {
    const errors = { read: 0, write: 0, flush: 0, resync: 0 };
    const rest = { startSector: 0, writeMostly: true, failedByHand: false, replaces: 0, errors };
    const legs: MirrorRecord['legs'] = [
      { path: '/c', slot: 2, state: 'in-sync', reason: null, ...rest },
    ];
    const recorder = store.recorder(IDENTITY, null);
    const errno = await new Promise<number>((done) => {
      recorder.record({ generation: 9, clean: true, legs }, done);
    });
    expect(errno).toBe(0);
    const { table, mirror: kept } = store.load()[0]?.record ?? {};
    expect(table).toEqual(['0 8 mirror core 1 2 1 /c 0']);
    expect(kept?.legs).toEqual(legs);
  });

  it('takes a record of a version that knew no slots', async () => {
    await record(store.recorder(IDENTITY, null), 5);
    const now = JSON.parse(readFileSync(file, 'utf8')) as DeviceRecord;
    const legs = now.mirror?.legs.map(({ path, state, reason, errors }) => {
      return { path, state, reason, errors };
    });
    writeFileSync(file, JSON.stringify({ ...now, mirror: { ...now.mirror, legs } }));
    expect(store.load()[0]?.record).toEqual({ format: 1, ...IDENTITY, mirror: mirror(5) });
  });

  it('survives a crash before the rename: the old record holds, the leftover goes', async () => {
    await record(store.recorder(IDENTITY, null), 5);
    writeFileSync(`${file}.tmp`, '{"format":1,"na');
    expect(store.load()[0]?.record?.mirror?.generation).toBe(5);
    expect(existsSync(`${file}.tmp`)).toBe(false);
  });

  it.each<[string, () => void, RegExp]>([
    ['cut short', () => truncateSync(file, 100), /^its record .*data\.json is no JSON$/],
    ['empty', () => truncateSync(file, 0), /is no JSON$/],
    ['of another kind', () => writeFileSync(file, '[]'), /is no device record: expected object/],
    [
      'of a later format',
      () => writeFileSync(file, readFileSync(file, 'utf8').replace('"format": 1', '"format": 2')),
      /is no device record: format: /,
    ],
    [
      'with a state that is none',
      () => writeFileSync(file, readFileSync(file, 'utf8').replace('"in-sync"', '"in-sink"')),
      /is no device record: mirror\.legs\.0\.state: /,
    ],
    [
      'with a key too many',
      () => writeFileSync(file, readFileSync(file, 'utf8').replace('"clean"', '"x": 1, "clean"')),
      /is no device record: mirror: Unrecognized key: "x"/,
    ],
    [
      'of another device',
      () => writeFileSync(file, readFileSync(file, 'utf8').replace('"data"', '"atad"')),
      /is the record of another device, "atad"/,
    ],
    [
      'not a file',
      () => {
        store.forget('data');
        mkdirSync(file);
      },
      /: is a directory$/,
    ],
  ])('tells of a record that is %s, and reads the others', async (_, damage, message) => {
    await record(store.recorder(IDENTITY, null), 5);
    await record(store.recorder({ ...IDENTITY, name: 'other' }, null), 6);
    damage();
    const [found, other] = store.load();
    expect(found).toMatchObject({ name: 'data', record: null });
    expect(found?.damage).toMatch(message);
    expect(other?.record?.mirror?.generation).toBe(6);
  });
});

describe('a recorder', () => {
  it('never calls back from inside, tells everybody, and writes the newest', async () => {
    const recorder = store.recorder(IDENTITY, null);
    const told: string[] = [];
    const all = [1, 2, 3, 4].map(
      (generation) =>
        new Promise<void>((done) => {
          recorder.record(mirror(generation), (errno) => {
            const onDisk = store.load()[0]?.record?.mirror?.generation ?? 0;
            told.push(`${generation}:${errno}:${onDisk >= generation ? 'durable' : onDisk}`);
            done();
          });
        }),
    );
    expect(told).toEqual([]);
    await Promise.all(all);
    expect(told).toEqual(['1:0:durable', '2:0:durable', '3:0:durable', '4:0:durable']);
    expect(store.load()[0]?.record?.mirror?.generation).toBe(4);
  });

  it('may be called from its own callback', async () => {
    const recorder = store.recorder(IDENTITY, null);
    await new Promise<void>((done) => {
      recorder.record(mirror(1), () => {
        recorder.record(mirror(2), () => done());
      });
    });
    expect(store.load()[0]?.record?.mirror?.generation).toBe(2);
  });

  it('answers with the errno, and writes again when it can', async () => {
    const recorder = store.recorder(IDENTITY, null);
    mkdirSync(`${file}.tmp`);
    expect(await record(recorder, 1)).toBe(ERRNO.EISDIR);
    expect(existsSync(file)).toBe(false);
  });

  it('removes the record for good, whatever comes after', async () => {
    const recorder = store.recorder(IDENTITY, null);
    await record(recorder, 1);
    await recorder.remove();
    expect(await record(recorder, 2)).toBe(0);
    expect(store.load()).toEqual([]);
  });
});
