import { SILENT_LOG } from '../../core/base/ports.ts';
import type { Clock } from '../../core/base/ports.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { buildTable } from '../../core/dm/build.ts';
import { MappedDevice } from '../../core/dm/mapped-device.ts';
import type { MappedDevicePools } from '../../core/dm/mapped-device.ts';
import { parseTable } from '../../core/dm/parse.ts';
import { targetTypes } from '../../core/dm/target-types.ts';
import type { TargetType } from '../../core/dm/target.ts';

/** For targets that never ask for the time. */
const STOPPED_CLOCK: Clock = {
  nowMs: () => 0,
  after: () => {
    throw new Error('this test has no clock');
  },
};

export interface MapOptions {
  readonly loop: Loop;
  /** What the paths of the table mean. */
  readonly devices: Readonly<Record<string, BlockDevice>>;
  readonly types?: readonly TargetType[];
  readonly pools?: MappedDevicePools;
  /** Without one, a target that sets a timer fails the test. */
  readonly clock?: Clock;
}

/** A mapped device of a table's text, its paths looked up in `devices`. */
export function mapDevice(table: string, options: MapOptions): MappedDevice {
  const { loop, devices, types = targetTypes, pools, clock = STOPPED_CLOCK } = options;
  const spec = parseTable(table, types);
  const opened = spec.lines.map((line) =>
    line.spec.devices.map(({ path }) => {
      const device = devices[path];
      if (device === undefined) throw new Error(`the test has no device ${path}`);
      return device;
    }),
  );
  const live = buildTable(spec, opened, { loop, clock, log: SILENT_LOG });
  return new MappedDevice('mapped', live, loop, pools);
}
