import { Signals } from '../../../daemon/run.ts';

const NAMES = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

afterEach(() => NAMES.forEach((name) => process.removeAllListeners(name)));

it('somebody listens for SIGHUP at every moment: where nobody does, it ends the process', () => {
  const left: number[] = [];
  const look = (name: string): void => {
    if (name === 'SIGHUP') left.push(process.listenerCount('SIGHUP'));
  };
  process.on('removeListener', look);
  try {
    new Signals().hangUp(() => Promise.resolve());
  } finally {
    process.removeListener('removeListener', look);
  }
  expect(left).toEqual([1]);
  expect(process.listenerCount('SIGHUP')).toBe(1);
});

it.each([
  ['with nothing to reload ends the daemon', null, 'SIGHUP'],
  ['reloads', () => Promise.resolve(), 'SIGTERM'],
])('a SIGHUP that came before %s', async (_, reload, reason) => {
  let reloads = 0;
  const signals = new Signals();
  process.emit('SIGHUP', 'SIGHUP');
  signals.hangUp(
    reload &&
      (() => {
        reloads += 1;
        return reload();
      }),
  );
  process.emit('SIGTERM', 'SIGTERM');
  expect(await signals.stop).toBe(reason);
  expect(reloads).toBe(reload === null ? 0 : 1);
});
