// Each trouble of test/ordeal once, one after the other, on one mirror under verified traffic.
import { TEST_ENGINE } from '../support/programs.ts';
import { describeAsRoot } from '../support/root-only.ts';
import { tempDirectory } from '../support/temp.ts';
import { Ordeal } from '../ordeal/ordeal.ts';
import { TROUBLES } from '../ordeal/troubles.ts';

const SLOW = 240_000;
const SEED = Date.now() % 2 ** 32;

describeAsRoot('a mirror in trouble', () => {
  let ordeal: Ordeal;
  // Before the folder goes.
  afterAll(() => ordeal.close(), SLOW);
  const folder = tempDirectory();

  beforeAll(async () => {
    ordeal = new Ordeal({
      folder,
      seed: SEED,
      engine: TEST_ENGINE,
      log: 'core',
      seconds: 1,
      only: [],
    });
    await ordeal.open();
  }, SLOW);

  it.each(Object.keys(TROUBLES))(
    `%s: no client error, no wrong byte, equal legs (seed ${SEED})`,
    async (name) => {
      expect(await ordeal.round(name)).toEqual([]);
    },
    SLOW,
  );
});
