import { join } from 'node:path';

/** The repository. Compiled, this file is dist/test/support/root.js. */
export const ROOT = join(import.meta.dirname, '../../..');
