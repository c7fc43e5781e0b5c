// A leg whose server has stopped: nothing is answered, nothing fails. It is taken out when its time-out
// has passed, the client sees no error, and it comes back when all it was given has ended.
import { breakableLeg } from '../support/bad-leg.ts';
import { startDaemon } from '../support/programs.ts';
import { run, runBeside } from '../support/run.ts';
import { Place } from '../support/place.ts';

const place = new Place();

const VERIFY = ['--ioengine=nbd', '--rw=randrw', '--bs=4k', '--size=4M', '--iodepth=8'];

describe('a leg that does not answer', () => {
  it('is given up on in time, is not believed meanwhile, and comes back when it has ended', async () => {
    const leg = await breakableLeg(place.folder, 'stuck', 'pwrite', 4);
    await startDaemon(place.folder);
    place.ok(
      ...['create', 'data', '--mirror', 'good.img', leg.path, '--size', '4M', '--assume-clean'],
      ...['--leg-timeout', '0', '--leg-timeout', `${leg.path}=1`],
    );
    const job = ['--name=x', ...VERIFY, `--uri=${place.uriOf('data')}`, '--verify=crc32c'];
    leg.stop();
    // Every request of it waits for the stuck leg at first: without a time-out it would never end.
    const fio = await runBeside(place.folder, 'fio', ...job, '--verify_fatal=1', '--fsync=32');
    expect([fio.code, fio.stderr]).toEqual([0, '']);
    const { state, legs } = place.statusOf('data');
    expect(state).toBe('degraded');
    expect(legs[0]?.state).toBe('in-sync');
    expect(legs[1]).toMatchObject({ state: 'failed', reason: 'no answer within 1 s' });
    expect(legs[1]?.errors.timeout).toBe(1);
    leg.goOn();
    // The daemon brings it back by itself, with what it missed.
    place.ok('wait', 'data', '--in-sync', '--timeout', '100');
    const compared = run(place.folder, 'cmp', 'good.img', leg.path);
    expect([compared.stdout, compared.code]).toEqual(['', 0]);
  });
});
