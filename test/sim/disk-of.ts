/** Legs are named after their disks: the place of `leg3` in `world.disks` is 3. */
export function diskOf(name: string): number {
  return Number(name.slice('leg'.length));
}
