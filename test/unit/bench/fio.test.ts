import { fioArguments, parseFio } from '../../bench/fio.ts';
import type { Load } from '../../bench/types.ts';

const LOAD: Load = {
  pattern: 'randwrite',
  blockBytes: 4096,
  depth: 32,
  connections: 1,
  sync: 'none',
  client: 'fio',
};
const URI = 'nbd+unix:///?socket=/tmp/s';

describe('fioArguments', () => {
  it('says the load', () => {
    expect(fioArguments(LOAD, URI, 2 ** 30, 0.5)).toEqual(
      expect.arrayContaining([
        '--ioengine=nbd',
        `--uri=${URI}`,
        '--rw=randwrite',
        '--bs=4096',
        '--iodepth=32',
        '--numjobs=1',
        '--size=1073741824',
        '--runtime=500ms',
      ]),
    );
  });

  it('gives every sequential connection a part of its own, whole blocks', () => {
    const load: Load = { ...LOAD, pattern: 'write', blockBytes: 1024 * 1024, connections: 3 };
    const args = fioArguments(load, URI, 16 * 2 ** 20, 1);
    expect(args).toContain('--size=5242880');
    expect(args).toContain('--offset_increment=5242880');
    expect(fioArguments(LOAD, URI, 2 ** 30, 1).join(' ')).not.toContain('offset_increment');
  });

  it('flushes every 32 writes only when asked, and never a reader', () => {
    const flushed: Load = { ...LOAD, sync: 'flush' };
    expect(fioArguments(flushed, URI, 2 ** 30, 1)).toContain('--fsync=32');
    expect(fioArguments({ ...flushed, pattern: 'read' }, URI, 2 ** 30, 1)).not.toContain(
      '--fsync=32',
    );
    expect(fioArguments(LOAD, URI, 2 ** 30, 1)).not.toContain('--fsync=32');
  });
});

/** What fio 3.33 printed for one second of randrw, cut to a tenth. */
const REPORT = {
  'fio version': 'fio-3.33',
  jobs: [
    {
      jobname: 'bench',
      error: 0,
      mixed: {
        io_bytes: 119742464,
        total_ios: 29234,
        runtime: 701,
        iops: 41703.281027,
        lat_ns: {
          min: 65668,
          percentile: { '50.000000': 209920, '99.000000': 4112384, '99.900000': 9502720 },
        },
      },
    },
  ],
};

describe('parseFio', () => {
  it('finds the report among remarks', () => {
    const text = `fio: connected to NBD server\n${JSON.stringify(REPORT)}\nbye\n`;
    expect(parseFio(text)).toEqual({
      requests: 29234,
      bytes: 119742464,
      seconds: 0.701,
      p50Us: 209.92,
      p99Us: 4112.384,
      p999Us: 9502.72,
      unevenness: null,
    });
  });

  it.each([
    ['nothing', ''],
    ['no JSON', 'fio: connection refused\n'],
    ['a failed job', JSON.stringify({ jobs: [{ ...REPORT.jobs[0], error: 5 }] })],
    ['reads and writes apart', JSON.stringify({ jobs: [{ error: 0, read: {}, write: {} }] })],
    ['no job', JSON.stringify({ jobs: [] })],
  ])('refuses %s', (_what, text) => {
    expect(() => parseFio(text)).toThrow();
  });
});
