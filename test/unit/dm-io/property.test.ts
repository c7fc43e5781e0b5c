// Random requests against a plain model: bits, errnos, bytes on every device, memory after reads and
// the number of calls must all agree. DMIO_SEED=n DMIO_CASES=1 runs one batch again.
import { runBatch } from '../../support/dm-io-batch.ts';
import { planted, PLANTS } from '../../support/dm-io-plants.ts';

const CASES = Number(process.env['DMIO_CASES'] ?? 100_000);
const SEED = Number(process.env['DMIO_SEED'] ?? Date.now() % 1_000_000_000);
const PLANT_BATCHES = 2000;

describe('random requests', () => {
  it(`agree with the model, ${CASES} cases from DMIO_SEED=${SEED}`, () => {
    let cases = 0;
    for (let batch = 0; cases < CASES; batch += 1) {
      try {
        cases += runBatch(SEED + batch);
      } catch (error) {
        throw new Error(`DMIO_SEED=${SEED + batch} DMIO_CASES=1 shows it again`, {
          cause: error,
        });
      }
    }
    expect(cases).toBeGreaterThanOrEqual(CASES);
  }, 60_000);

  it('are the same for the same seed', () => {
    expect(runBatch(77)).toBe(runBatch(77));
  });
});

describe('the model', () => {
  it.each(Object.entries(PLANTS))('catches a client that %s', (_name, plant) => {
    const complaints: string[] = [];
    for (let seed = 1; seed <= PLANT_BATCHES; seed += 1) {
      try {
        runBatch(seed, planted(plant));
      } catch (error) {
        complaints.push((error as Error).message);
        if (plant.complaint.test(complaints.at(-1) ?? '')) break;
      }
    }
    expect(complaints.at(-1) ?? 'nothing').toMatch(plant.complaint);
  });
});
