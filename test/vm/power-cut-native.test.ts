import { itSurvivesPowerCuts } from './support/power-cut.ts';

// What was not flushed was in the page cache, and is gone.
itSurvivesPowerCuts({
  log: 'native',
  on: 'files of the page cache',
  a: '/var/legs/a',
  b: '/var/legs/b',
});
