import { parseCpuList } from '../../bench/machine.ts';
import { cpuSecondsOf, isAlive, memoryMibOf, parsePeakKib, parseStat } from '../../bench/proc.ts';
import { cpusFor, metricsOf, NOTHING } from '../../bench/turn.ts';

describe('parseStat', () => {
  it('counts fields from the last bracket of the name', () => {
    const tail = 'S 1 1489 1489 0 -1 4194368 239 1221 2 1 8 5 18 138 20 0 1 0 551671 12328960';
    const stat = { state: 'S', parent: 1, ownTicks: 13, reapedTicks: 156 };
    expect(parseStat(`1489 (nbd-server) ${tail}`)).toEqual(stat);
    expect(parseStat(`1489 (a) R 7 (b) ${tail}`)).toEqual(stat);
  });
});

describe('parsePeakKib', () => {
  it('is 0 for a process without memory', () => {
    expect(parsePeakKib('Name:\tx\nVmHWM:\t    4872 kB\nVmRSS:\t 1 kB\n')).toBe(4872);
    expect(parsePeakKib('Name:\tkthreadd\n')).toBe(0);
  });
});

describe('a live process', () => {
  it('has CPU time and memory; one that never was has not', () => {
    expect(isAlive(process.pid)).toBe(true);
    expect(cpuSecondsOf(process.pid)).toBeGreaterThan(0);
    expect(memoryMibOf(process.pid)).toBeGreaterThan(10);
    expect(isAlive(2 ** 22 + 1)).toBe(false);
  });
});

describe('parseCpuList', () => {
  it.each([
    ['0', [0]],
    ['0-1', [0, 1]],
    ['0-2,7,9-10', [0, 1, 2, 7, 9, 10]],
  ])('%s', (text, cpus) => {
    expect(parseCpuList(text)).toEqual(cpus);
  });
});

describe('cpusFor', () => {
  it('takes the first allowed CPUs, and refuses to be apart on one', () => {
    expect(cpusFor('free', [2, 5])).toEqual({ server: null, client: null });
    expect(cpusFor('same', [2, 5])).toEqual({ server: 2, client: 2 });
    expect(cpusFor('apart', [2, 5])).toEqual({ server: 2, client: 5 });
    expect(() => cpusFor('apart', [2])).toThrow('one CPU');
  });
});

describe('metricsOf', () => {
  const latencies = { p50Us: 1, p99Us: 2, p999Us: 3 };
  const result = { requests: 1000, bytes: 4096000, seconds: 2, ...latencies, unevenness: 1.5 };

  it('makes rates and costs a request', () => {
    const metrics = metricsOf(result, { cpuSeconds: 0.5, memoryMib: 9, startMs: 7 });
    expect(metrics).toEqual({
      requestsPerSecond: 500,
      mibPerSecond: 4096000 / 2 ** 20 / 2,
      p50Us: 1,
      p99Us: 2,
      p999Us: 3,
      unevenness: 1.5,
      cpuUsPerRequest: 500,
      cpuPercent: 25,
      memoryMib: 9,
      startMs: 7,
    });
  });

  it('has no rates of an idle connection, only what it costs', () => {
    const { p50Us, p99Us, p999Us, unevenness } = NOTHING;
    const idle = { requests: 0, bytes: 0, seconds: 4, p50Us, p99Us, p999Us, unevenness };
    const metrics = metricsOf(idle, { cpuSeconds: 0.02, memoryMib: 9, startMs: 7 });
    expect(metrics).toEqual({ ...NOTHING, cpuPercent: 0.5, memoryMib: 9, startMs: 7 });
  });
});
