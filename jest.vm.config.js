// npm run test:vm: scenarios on a real kernel. Not part of `npm test`: each boots machines.
import { project, run } from './jest.config.js';

export default {
  ...run,
  ...project,
  roots: ['<rootDir>/dist/test/vm'],
  testMatch: ['<rootDir>/dist/test/vm/**/*.test.js'],
  testPathIgnorePatterns: ['/node_modules/'],
  testSequencer: '<rootDir>/dist/test/vm/support/order.js',
  // Only against a machine that talks for ever; one that stands still is ended by its silence.
  testTimeout: 2_700_000,
};
