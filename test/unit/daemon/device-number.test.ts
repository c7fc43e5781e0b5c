import { mkdirSync, writeFileSync } from 'node:fs';

import { withAbsolutePaths } from '../../../daemon/devices/assemble.ts';
import { pathOfNumber } from '../../../daemon/devices/device-number.ts';
import { Place } from '../../support/place.ts';

const place = new Place();

/** What sysfs has of a disk, and of a device that device mapper has made. */
function plantDevices(): string {
  const sys = place.path('block');
  mkdirSync(`${sys}/98:16`, { recursive: true });
  writeFileSync(`${sys}/98:16/uevent`, 'MAJOR=98\nMINOR=16\nDEVNAME=ubdb\nDEVTYPE=disk\n');
  mkdirSync(`${sys}/254:0/dm`, { recursive: true });
  writeFileSync(`${sys}/254:0/uevent`, 'MAJOR=254\nMINOR=0\nDEVNAME=dm-0\nDEVTYPE=disk\n');
  writeFileSync(`${sys}/254:0/dm/name`, 'vg-leg\n');
  return sys;
}

it('finds the name of a device by its number, as dmsetup prints it', () => {
  const sys = plantDevices();
  expect(pathOfNumber('98:16', sys)).toBe('/dev/ubdb');
  // Numbers of device mapper are given anew at each boot, and dm-0 with them.
  expect(pathOfNumber('254:0', sys)).toBe('/dev/mapper/vg-leg');
  for (const word of ['/dev/sda', 'a:1', '8:', '8', './98:16', '98:16:0']) {
    expect(pathOfNumber(word, sys)).toBeUndefined();
  }
});

it('refuses a number that no device has, in words', () => {
  const line = '0 2048 mirror core 1 1024 2 4095:1 0 /srv/b.img 0';
  expect(() => withAbsolutePaths(line, '/srv')).toThrow(
    'no block device has the number 4095:1 (a file of that name: ./4095:1)',
  );
  expect(withAbsolutePaths(line.replace('4095:1', './4095:1'), '/srv')).toBe(
    '0 2048 mirror core 1 1024 2 /srv/4095:1 0 /srv/b.img 0',
  );
});
