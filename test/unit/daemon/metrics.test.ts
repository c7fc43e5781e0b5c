import type { DeviceCounts, DeviceStatus } from '../../../core/control/status.ts';
import { NO_LEG_ERRORS } from '../../../core/control/status.ts';
import { IoStats } from '../../../core/stats/io-stats.ts';
import { reportOf } from '../../../core/stats/report.ts';
import { metricsPage, parseMetrics } from '../../../daemon/metrics.ts';

const LEG = '/srv/a "b"\\c';

const DEVICE: DeviceStatus = {
  name: 'data',
  sizeBytes: 4096,
  target: 'mirror',
  state: 'degraded',
  uri: null,
  connections: 2,
  attached: [],
  mounts: [],
  eventNr: 7,
  regions: { sizeBytes: 1024, total: 4, dirty: 1, outOfSync: 2 },
  resync: null,
  scrub: null,
  regionMap: null,
  legs: [
    {
      index: 0,
      leg: LEG,
      state: 'in-sync',
      errors: { ...NO_LEG_ERRORS, write: 3 },
      outOfSyncBytes: 0,
      writeMostly: false,
      failedByHand: false,
      replaces: null,
      reason: null,
      note: null,
    },
  ],
  reason: null,
};

describe('the metrics page', () => {
  it('says state and counters in the words of Prometheus', () => {
    const stats = new IoStats();
    stats.note(0, 8, 2, 0);
    const io = reportOf(stats);
    const counts: DeviceCounts = { name: 'data', io, legs: [{ index: 0, leg: LEG, io }] };
    const lines = metricsPage([DEVICE], [counts]).split('\n');
    const leg = 'leg="/srv/a \\"b\\"\\\\c"';
    expect(lines).toContain('dmiod_device_state{device="data",state="degraded"} 1');
    expect(lines).toContain('dmiod_device_event_number{device="data"} 7');
    expect(lines).toContain(`dmiod_leg_errors_total{device="data",${leg},kind="write"} 3`);
    expect(lines).toContain('dmiod_device_requests_total{device="data",op="read"} 1');
    expect(lines).toContain('dmiod_device_request_bytes_total{device="data",op="read"} 4096');
    expect(lines).toContain(
      `dmiod_leg_request_seconds{device="data",${leg},op="read",quantile="0.99"} 0.002`,
    );
    expect(lines).toContain('dmiod_device_request_seconds_count{device="data",op="read"} 1');
    // Each metric is named once, with all its lines behind it.
    const types = lines.filter((line) => line.startsWith('# TYPE '));
    expect(new Set(types).size).toBe(types.length);
    expect(lines.filter((line) => line !== '').every(isPrometheus)).toBe(true);
  });

  it('has an address that can be written down', () => {
    expect(parseMetrics('127.0.0.1:9100')).toEqual({ host: '127.0.0.1', port: 9100 });
    expect(parseMetrics('[::1]:9100')).toEqual({ host: '::1', port: 9100 });
    expect(parseMetrics(':9100')).toEqual({ host: '127.0.0.1', port: 9100 });
    for (const bad of ['9100', 'host', 'host:', 'host:99999', 'a b:1', '::1:5']) {
      expect(parseMetrics(bad)).toBeUndefined();
    }
  });
});

/** The text format, as far as this page uses it. */
function isPrometheus(line: string): boolean {
  return /^(?:# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{[a-z]+="(?:[^"\\]|\\.)*"(?:,[a-z]+="(?:[^"\\]|\\.)*")*\})? [\d.e+-]+)$/.test(
    line,
  );
}
