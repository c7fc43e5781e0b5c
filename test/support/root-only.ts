import { execFileSync } from 'node:child_process';

/** Mounts, loop devices and other users need root. */
export const isRoot = process.getuid?.() === 0;

/** Tests that need root. Without it one test says in its name what was not looked at. */
export function describeAsRoot(name: string, body: () => void): void {
  describe(name, () => {
    if (isRoot) body();
    else it('was not looked at: needs root', () => expect(isRoot).toBe(false));
  });
}

/** Runs a program of Debian's base system; returns what it prints, throws when it fails. */
export function runProgram(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' }).trim();
}
