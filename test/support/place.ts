// A folder of its own for each test of a file, and what a user does who stands in it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { DeviceStatus, StatusReport } from '../../core/control/status.ts';
import { dmio } from './programs.ts';
import { tempDirectory } from './temp.ts';

export class Place {
  /** Of the test that runs now. */
  folder = '';
  private readonly root = tempDirectory();
  private count = 0;

  constructor() {
    beforeEach(() => {
      this.count += 1;
      this.folder = join(this.root, String(this.count));
      mkdirSync(this.folder);
    });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** What `dmio ARGS...` prints; it must succeed without a word on stderr. */
  ok(...args: readonly string[]): string {
    const ran = dmio(this.folder, ...args);
    expect([ran.stderr, ran.code]).toEqual(['', 0]);
    return ran.stdout;
  }

  statusOf(name: string): DeviceStatus {
    const { devices } = JSON.parse(this.ok('status', name, '--json')) as StatusReport;
    expect(devices).toHaveLength(1);
    return devices[0] as DeviceStatus;
  }

  uriOf(name: string): string {
    return `nbd+unix:///${name}?socket=${this.folder}/nbd.sock`;
  }
}
