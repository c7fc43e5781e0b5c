/** Devices of this daemon that somebody has attached with nbd-client, past `dmio attach`. */
import { nbdPath } from './nbd-block.ts';
import type { NbdBlocks } from './nbd-block.ts';

export interface ByHand {
  readonly index: number;
  readonly name: string;
  readonly connections: number;
}

/** Who connected by a unix socket, and is served: the name of an export for each connection. */
export interface ServedProcesses {
  exportsOf(pid: number): readonly string[];
}

/**
 * The kernel says which process connected /dev/nbdN, our sockets which one connected to us. `known`:
 * numbers that are our own. What came over TCP, or through a proxy, has no such mark and is not found.
 */
export function attachedByHand(
  blocks: NbdBlocks,
  server: ServedProcesses,
  known: (index: number) => boolean,
): readonly ByHand[] {
  const found: ByHand[] = [];
  for (const index of blocks.indexes()) {
    const pid = known(index) ? null : blocks.pidOf(index);
    const names = pid === null ? [] : server.exportsOf(pid);
    const [name] = names;
    if (name !== undefined) found.push({ index, name, connections: names.length });
  }
  return found;
}

/** Ours would come between, or take away what is not ours. */
export function byHandWords({ index, name }: ByHand): string {
  const device = nbdPath(index);
  return `device ${name} is attached as ${device}, by hand: nbd-client -d ${device} detaches it`;
}
