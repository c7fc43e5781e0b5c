import { engineInUse, startDaemon } from '../support/programs.ts';
import { tempDirectory } from '../support/temp.ts';

const folder = tempDirectory();

it(`the daemons of this run are on engine ${engineInUse()}`, async () => {
  const daemon = await startDaemon(folder);
  expect(daemon.stderr).toContain(`"engine":"${engineInUse()}"`);
});
