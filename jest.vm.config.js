// npm run test:vm: scenarios on a real kernel. Not part of `npm test`: each boots machines.
import config from './jest.config.js';

export default {
  ...config,
  roots: ['<rootDir>/dist/test/vm'],
  testMatch: ['<rootDir>/dist/test/vm/**/*.test.js'],
  testPathIgnorePatterns: ['/node_modules/'],
  testTimeout: 1_500_000,
};
