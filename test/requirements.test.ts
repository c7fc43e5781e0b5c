import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { missingOf, pathOf, planFor, REQUIREMENTS, searchPath } from './support/requirements.ts';

const fio = { command: 'fio', debian: 'fio', why: 'load' };
const mke2fs = { command: 'mke2fs', debian: 'e2fsprogs', why: 'make' };
const e2fsck = { command: 'e2fsck', debian: 'e2fsprogs', why: 'check' };

describe('requirements', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'dmiod-requirements-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it('finds an executable file only: not a plain file, not a folder, not an absent name', () => {
    writeFileSync(join(folder, 'fio'), '#!/bin/sh\n');
    chmodSync(join(folder, 'fio'), 0o755);
    expect(pathOf('fio', ['/nonexistent', folder])).toBe(join(folder, 'fio'));
    expect(pathOf('absent', [folder])).toBeUndefined();
    expect(pathOf('.', [folder])).toBeUndefined();
    expect(missingOf([fio, mke2fs, e2fsck], [folder])).toEqual([mke2fs, e2fsck]);
  });

  it('looks in sbin too when the PATH of a plain user does not', () => {
    expect(searchPath('/home/me/bin::/usr/bin')).toEqual([
      '/home/me/bin',
      '/usr/bin',
      '/usr/local/sbin',
      '/usr/sbin',
      '/sbin',
      '/bin',
    ]);
    expect(searchPath(undefined)).toContain('/usr/sbin');
  });

  it('does nothing when nothing is missing', () => {
    expect(planFor([], true)).toEqual({ kind: 'ready' });
    expect(planFor([], false)).toEqual({ kind: 'ready' });
  });

  it('installs exactly the missing packages, each once, when root', () => {
    const plan = planFor([mke2fs, e2fsck, fio], true);
    expect(plan).toMatchObject({
      kind: 'install',
      commands: [['update'], ['install', '-y', '--no-install-recommends', 'e2fsprogs', 'fio']],
    });
  });

  it('stops with the exact line to type, and why, when not root', () => {
    expect(planFor([mke2fs, fio], false)).toEqual({
      kind: 'stop',
      says: [
        'The tests need programs that are not installed:',
        '  mke2fs (e2fsprogs): make',
        '  fio (fio): load',
        'Install them, then run the tests again:',
        'sudo apt-get update && sudo apt-get install -y --no-install-recommends e2fsprogs fio',
      ].join('\n'),
    });
  });

  it('names each command once, with a Debian package name and a reason', () => {
    const commands = REQUIREMENTS.map(({ command }) => command);
    expect(new Set(commands).size).toBe(commands.length);
    for (const { debian, why } of REQUIREMENTS) {
      expect(debian).toMatch(/^[a-z0-9][a-z0-9+.-]+$/);
      expect(why).not.toBe('');
    }
  });
});
