import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory of this test's own, gone after its file's last test. */
export function tempDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'dmio-test-'));
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
