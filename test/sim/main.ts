import { parseArgs } from 'node:util';
import { drawOptions } from './options.ts';
import { runSeed } from './run.ts';

/** `main.js --seed N [--count K] [--trace]`: plays seeds N .. N+K-1; the exit code is 1 if one failed. */
function main(): void {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      count: { type: 'string', default: '1' },
      trace: { type: 'boolean', default: false },
    },
  });
  const first = Number(values.seed);
  const count = Number(values.count);
  const startedMs = performance.now();
  let failed = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const options = drawOptions(seed);
    if (count === 1) console.log(JSON.stringify(options));
    const { failure } = runSeed(options, values.trace ? (line) => console.log(line) : null);
    if (failure === null) continue;
    failed += 1;
    console.log(`seed ${seed} (${options.atlas}) failed: ${failure.message}`);
    if (count === 1 && failure.checker === 'exception') console.log(failure.stack);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const rate = (count / seconds).toFixed(1);
  console.log(`${count} seeds, ${failed} failed, ${seconds.toFixed(1)} s, ${rate} seeds/s`);
  if (failed > 0) process.exitCode = 1;
}

main();
