// A mirror with the native log on real files, and what can be done to them: of each test file its own.
import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';

import type { DeviceStatus } from '../../core/control/status.ts';
import type { LegDescription } from '../../core/mirror/native-describe.ts';
import { dmio } from './programs.ts';
import { Place } from './place.ts';
import { run } from './run.ts';

export const SLOW = 180_000;
export const MIB = 2 ** 20;
/** Of the device `data`, as `create` makes it. */
export const SIZE = 16 * MIB;
const SUPERBLOCK = 8192;

export const place = new Place();
export const path = (name: string): string => place.path(name);
export const ok = (...args: readonly string[]): string => place.ok(...args);
export const status = (): DeviceStatus => place.statusOf('data');

export function create(...more: readonly string[]): void {
  const sizes = ['--size', '16M', '--region-size', '64K', '--log', 'native'];
  ok('create', 'data', '--mirror', 'a.img', 'b.img', ...sizes, ...more);
}

/** Fills a part of the device with a byte, durably. */
export function write(byte: number, atMib: number, mib: number): void {
  const command = ['-c', `write -P ${byte} ${atMib}M ${mib}M`, '-c', 'flush'];
  const ran = run(place.folder, 'qemu-io', '-f', 'raw', ...command, place.uriOf('data'));
  expect([ran.stderr, ran.code]).toEqual(['', 0]);
}

export function expectByte(byte: number, atMib: number, mib: number): void {
  const command = ['-c', `read -P ${byte} ${atMib}M ${mib}M`];
  const ran = run(place.folder, 'qemu-io', '-f', 'raw', ...command, place.uriOf('data'));
  expect(ran.stdout).not.toContain('verification failed');
  expect(ran.code).toBe(0);
}

export function dataOf(leg: string): Buffer {
  const data = Buffer.alloc(SIZE);
  const fd = openSync(path(leg), 'r');
  expect(readSync(fd, data, 0, SIZE, 0)).toBe(SIZE);
  closeSync(fd);
  return data;
}

export function expectEqualData(...legs: readonly string[]): void {
  const [first = Buffer.alloc(0), ...others] = legs.map(dataOf);
  for (const other of others) expect(other.equals(first)).toBe(true);
}

export function examine(leg: string): LegDescription {
  return JSON.parse(ok('examine', leg, '--json')) as LegDescription;
}

export function expectRefused(
  code: number,
  message: string | RegExp,
  ...args: readonly string[]
): void {
  const ran = dmio(place.folder, ...args);
  expect(ran.stderr.split('\n')).toHaveLength(2);
  expect(ran.stderr).toMatch(message);
  expect([ran.code, ran.stdout]).toEqual([code, '']);
}

export function states(): readonly string[] {
  return status().legs.map(({ leg, state }) => `${leg.replace(`${place.folder}/`, '')} ${state}`);
}

/** A copy of a leg's superblock: A is the last 8 KiB of its whole units, B is before it. */
export function damage(leg: string, copy: 'A' | 'B', kind: 'zeroed' | 'torn' | 'rotten'): void {
  const size = statSync(path(leg)).size;
  const end = size - (size % 4096);
  const at = end - (copy === 'A' ? 1 : 2) * SUPERBLOCK;
  if (kind === 'rotten') overwrite(leg, at + 700, Buffer.from([0x55]));
  else overwrite(leg, at, Buffer.alloc(kind === 'torn' ? 512 : SUPERBLOCK, 0));
}

export function overwrite(leg: string, at: number, bytes: Buffer): void {
  const fd = openSync(path(leg), 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}
