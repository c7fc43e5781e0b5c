// `npm run ordeal -- --rounds 200`: see README.md.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Ordeal } from './ordeal.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '3' },
    engine: { type: 'string', default: 'auto' },
    log: { type: 'string', default: 'native' },
    only: { type: 'string', multiple: true, default: [] },
    keep: { type: 'boolean', default: false },
  },
});

const folder = mkdtempSync(join(tmpdir(), 'dmiod-ordeal-'));
const ordeal = new Ordeal({
  folder,
  seed: Number(values.seed),
  engine: values.engine,
  log: values.log,
  seconds: Number(values.seconds),
  only: values.only,
});
console.log(`seed ${values.seed}, engine ${values.engine}, ${values.log} log, in ${folder}`);

const rounds = Number(values.rounds);
const counts = new Map<string, number>();
let failures: readonly string[] = [];
const begun = Date.now();
try {
  await ordeal.open();
  for (let round = 1; round <= rounds && failures.length === 0; round += 1) {
    const name = ordeal.draw();
    failures = await ordeal.round(name);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    const seconds = Math.round((Date.now() - begun) / 1000);
    const verdict = failures.length === 0 ? 'ok' : 'FAILED';
    console.log(`${round}/${rounds} ${verdict} ${name} (${seconds} s)`);
  }
} finally {
  await ordeal.close();
}
console.log([...counts].map(([name, count]) => `${count} x ${name}`).join(', '));
console.log(`${ordeal.acknowledged} tagged writes acknowledged`);
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(failures.length === 0 ? 'ordeal: passed' : 'ordeal: failed');
if (failures.length === 0 && !values.keep) rmSync(folder, { recursive: true, force: true });
process.exitCode = failures.length === 0 ? 0 : 1;
