import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { readRecord, writeRecord } from '../../../daemon/attach/record.ts';
import { tempDirectory } from '../../support/temp.ts';

const path = join(tempDirectory(), 'attached.json');
const one = {
  index: 0,
  name: 'data',
  connections: 2,
  timeoutSeconds: 10,
  deadSeconds: 300,
  sizeBytes: 1048576,
  pid: 812,
};

it('is read back in the same boot, and is past in another', () => {
  writeRecord(path, 'boot-1', [one]);
  expect(readRecord(path, 'boot-1')).toEqual([one]);
  expect(readRecord(path, 'boot-2')).toEqual([]);
});

it('goes when nothing is attached, also twice', () => {
  writeRecord(path, 'boot-1', [one]);
  writeRecord(path, 'boot-1', []);
  writeRecord(path, 'boot-1', []);
  expect(existsSync(path)).toBe(false);
  expect(readRecord(path, 'boot-1')).toEqual([]);
});

it.each(['', '{', '[]', '{"format":2,"bootId":"boot-1","attached":[]}', '{"format":1}'])(
  'that cannot be read is none: %s',
  (text) => {
    writeFileSync(path, text);
    expect(readRecord(path, 'boot-1')).toEqual([]);
  },
);
