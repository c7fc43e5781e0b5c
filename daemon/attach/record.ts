/** STATE/attached.json: which /dev/nbdN are ours, for the daemon that comes after a crash. */
import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { parseJson } from '../../core/control/reply.ts';
import { codeOf } from '../system-error.ts';

const count = z.int().nonnegative();

const attachedDevice = z.strictObject({
  index: count,
  /** The device's name, which is the export's. */
  name: z.string(),
  connections: z.int().positive(),
  timeoutSeconds: z.int().positive(),
  deadSeconds: z.int().positive(),
  sizeBytes: count,
  /** What /sys/block/nbdN/pid said: whoever connected the device anew has another. */
  pid: count,
});

const record = z.strictObject({
  format: z.literal(1),
  bootId: z.string(),
  attached: z.array(attachedDevice),
});

export type AttachedDevice = z.infer<typeof attachedDevice>;

/** Not synced: it is about this boot of the kernel, and dies with it. */
export function writeRecord(
  path: string,
  bootId: string,
  attached: readonly AttachedDevice[],
): void {
  if (attached.length === 0) {
    removeRecord(path);
    return;
  }
  const text = `${JSON.stringify({ format: 1, bootId, attached })}\n`;
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Those of this boot. A record that cannot be read is none: nothing durable hangs on it. */
export function readRecord(path: string, bootId: string): readonly AttachedDevice[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  const parsed = record.safeParse(parseJson(text));
  return parsed.success && parsed.data.bootId === bootId ? parsed.data.attached : [];
}

function removeRecord(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}
