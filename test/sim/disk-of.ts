const KNOWN = new Map<string, number>();

/** Legs are named after their disks: the place of `leg3` in `world.disks` is 3. */
export function diskOf(name: string): number {
  const known = KNOWN.get(name);
  if (known !== undefined) return known;
  const disk = Number(name.slice('leg'.length));
  KNOWN.set(name, disk);
  return disk;
}
