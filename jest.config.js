// The tests are compiled by tsc and run from dist/ as they are: no transformer, so what runs is what ships.
// Run through `npm test` or `npm run jest -- PATTERN`: ES modules need the flags that script sets.

/** What every project of ours has. */
export const project = {
  roots: ['<rootDir>/dist/test'],
  testMatch: ['<rootDir>/dist/test/**/*.test.js'],
  // npm run test:vm (jest.vm.config.js) runs those.
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/dist/test/vm/'],
  testEnvironment: 'node',
  transform: {},
};

export const run = {
  maxWorkers: 2,
  // Against what never ends; not a measure of speed, machines may have other work. (Jest asks the run, not its projects.)
  testTimeout: 60_000,
  // Not leniency: with "no test found" Jest would stop before any reporter is made. The closing-line
  // reporter says `0 passed, 0 failed, 0 skipped` and fails such a run.
  passWithNoTests: true,
  reporters: ['default', '<rootDir>/dist/test/support/closing-line-reporter.js'],
};

/** Where daemons are started: on the engine that `auto` finds, and on Node's fs and sockets. */
const daemons = ['integration', 'interop'].map(
  (folder) => `<rootDir>/dist/test/${folder}/**/*.test.js`,
);

export default {
  ...run,
  projects: [
    { ...project, displayName: 'all', globals: { TEST_ENGINE: 'auto' } },
    {
      ...project,
      displayName: 'node engine',
      testMatch: daemons,
      // test/support/programs.ts
      globals: { TEST_ENGINE: 'node' },
    },
  ],
};
