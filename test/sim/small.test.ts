// Every small story: up to three requests under way at once and a fault, up to two and two faults, and a
// crash after every event.
import { PATIENCE_MS, sim } from './cli.ts';

describe('the mirror, in every small story', () => {
  it.each([
    ['three requests, one fault', ['--small', '3']],
    ['two requests, two faults', ['--small', '2', '--faults', '2']],
  ] as const)(
    'holds with up to %s, a kill or a power cut after any event',
    (_, args) => {
      const { status, stdout } = sim(...args);
      expect(stdout).toMatch(/^\d{5,6} small cases, 0 failed$/m);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
});
