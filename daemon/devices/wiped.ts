/** Whether a remote leg that came back has lost everything. */
import { open } from 'node:fs/promises';
import { bytesOfSectors } from '../../core/base/units.ts';
import { readSectors } from './leg-content.ts';
import type { RemoteLeg } from '../remote/leg.ts';

const SPOTS = 64;

/** Reads a few places of both: nothing but zeros on the leg, and something on the member. */
export async function isWiped(leg: RemoteLeg, memberPath: string): Promise<boolean> {
  const block = Math.max(leg.limits.logicalBlockSize, 4096);
  const blocks = Math.floor(bytesOfSectors(leg.sectors) / block);
  const step = Math.max(1, Math.floor(blocks / SPOTS));
  const member = await open(memberPath, 'r');
  let hasContent = false;
  try {
    for (let at = 0; at < blocks; at += step) {
      const { buffer } = await member.read(Buffer.alloc(block), 0, block, at * block);
      if (isZero(buffer)) continue;
      hasContent = true;
      if (!isZero(await readSectors(leg, (at * block) / 512, block / 512))) return false;
    }
  } finally {
    await member.close();
  }
  return hasContent;
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}
