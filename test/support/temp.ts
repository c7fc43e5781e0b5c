import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory of this test file's own, gone after its last test; its path is short, as a socket's must be. */
export function tempDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'dmio-test-'));
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
