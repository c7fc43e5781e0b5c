// `npm run soak -- --minutes 10`: mixed traffic on a mirror, and the daemon watched from outside. The
// verdict is about what only time shows: memory that grows, descriptors and threads that stay.
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { DMIO, DMIOD, Running } from '../support/running.ts';
import { run } from '../support/run.ts';
import { openDescriptors, Samples } from './samples.ts';
import { Traffic } from './traffic.ts';

const LEG_MIB = 512;
const SAMPLE_MS = 5000;
const LEGS = ['a.img', 'b.img'];

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    engine: { type: 'string', default: 'auto' },
    keep: { type: 'boolean', default: false },
  },
});

async function soak(folder: string, minutes: number): Promise<readonly string[]> {
  const places = ['--control', 'control.sock', '--state-dir', 'state', '--listen', 'unix:nbd.sock'];
  const daemon = new Running(folder, [DMIOD, ...places, '--engine', values.engine]);
  await daemon.until(() => daemon.stderr.includes('"msg":"ready"'));
  const dmio = (...args: readonly string[]): string => {
    const ran = run(folder, process.execPath, DMIO, '--control', 'control.sock', ...args);
    if (ran.code !== 0) throw new Error(`dmio ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  };

  dmio('create', 'soak', '--mirror', ...LEGS, '--size', `${LEG_MIB}M`);
  const atRest = openDescriptors(daemon.pid);
  console.log(`dmiod ${daemon.pid}, engine ${values.engine}, ${folder}, ${minutes} minutes`);

  const traffic = new Traffic(folder, `nbd+unix:///soak?socket=${folder}/nbd.sock`);
  const samples = new Samples(daemon.pid);
  console.log(samples.heading());
  const end = Date.now() + minutes * 60_000;
  traffic.start(end);
  while (Date.now() < end) {
    await sleep(SAMPLE_MS);
    console.log(samples.take(traffic.runs, traffic.failures.length));
  }
  await traffic.ended();

  const failures = [...traffic.failures, ...samples.complaints()];
  const status = dmio('status', 'soak');
  console.log(status);
  if (!status.includes('[UU]')) failures.push('the mirror did not stay in sync');
  // Every client is gone: a descriptor more than before the first is one that nobody closes.
  const left = openDescriptors(daemon.pid);
  if (left > atRest) failures.push(`${left} descriptors open, ${atRest} before the first client`);
  const code = await daemon.stop();
  if (code !== 0) failures.push(`dmiod ended with ${code}: ${daemon.stderr}`);
  if (!sameContent(LEGS.map((leg) => join(folder, leg)))) failures.push('the legs differ');
  console.log(`traffic: ${traffic.summary()}\n${samples.summary()}`);
  return failures;
}

function sameContent(paths: readonly string[]): boolean {
  const files = paths.map((path) => openSync(path, 'r'));
  const chunks = files.map(() => Buffer.alloc(2 ** 22));
  for (let same = true; ;) {
    const counts = files.map((file, i) => readSync(file, chunks[i] ?? Buffer.alloc(0)));
    same = chunks.every((chunk) => chunk.equals(chunks[0] ?? chunk));
    if (!same || counts.every((count) => count === 0)) {
      files.forEach(closeSync);
      return same;
    }
  }
}

const folder = mkdtempSync(join(tmpdir(), 'dmiod-soak-'));
const failures = await soak(folder, Number(values.minutes));
if (!values.keep) rmSync(folder, { recursive: true, force: true });
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(failures.length === 0 ? 'soak: passed' : `soak: failed, ${failures.length} reasons`);
process.exitCode = failures.length === 0 ? 0 : 1;
