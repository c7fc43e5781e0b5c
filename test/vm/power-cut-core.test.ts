import { itSurvivesPowerCuts } from './support/power-cut.ts';

// What was not flushed is on the disks all the same, or on one of them.
itSurvivesPowerCuts({ log: 'core', on: 'disks', a: '/dev/ubdb', b: '/dev/ubdc' });
