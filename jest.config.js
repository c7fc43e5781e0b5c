// The tests are compiled by tsc and run from dist/ as they are: no transformer, so what runs is what ships.
// Run through `npm test` or `npm run jest -- PATTERN`: ES modules need the flags that script sets.
export default {
  roots: ['<rootDir>/dist/test'],
  testMatch: ['<rootDir>/dist/test/**/*.test.js'],
  // npm run test:vm (jest.vm.config.js) runs those.
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/dist/test/vm/'],
  testEnvironment: 'node',
  transform: {},
  maxWorkers: 2,
  // Against what never ends; not a measure of speed, machines may have other work.
  testTimeout: 60_000,
  // Not leniency: with "no test found" Jest would stop before any reporter is made. The closing-line
  // reporter says `0 passed, 0 failed, 0 skipped` and fails such a run.
  passWithNoTests: true,
  reporters: ['default', '<rootDir>/dist/test/support/closing-line-reporter.js'],
};
