// The table of README.md: what the tools people use and the daemon agree on. A row is a feature, a
// column a tool, a cell a test, or the reason why there is none.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { engineInUse } from '../support/programs.ts';
import { ROOT } from '../support/root.ts';
import { tempDirectory } from '../support/temp.ts';
import { FEATURES, TOOLS, type Column, type Tool } from './table/cell.ts';
import { LIBNBD } from './table/libnbd.ts';
import { FIO, NBD_CLIENT } from './table/others.ts';
import { QEMU } from './table/qemu.ts';
import { TableServer } from './table/server.ts';

const SLOW = 240_000;
const COLUMNS: Readonly<Record<Tool, Column>> = {
  libnbd: LIBNBD,
  qemu: QEMU,
  'nbd-client': NBD_CLIENT,
  fio: FIO,
};

const root = tempDirectory();
let server: TableServer;
beforeAll(async () => {
  server = await TableServer.start(root);
}, SLOW);
afterAll(() => server.stop(), SLOW);

const cells = TOOLS.flatMap((tool) =>
  FEATURES.flatMap((feature) => {
    const cell = COLUMNS[tool][feature];
    return typeof cell === 'string' ? [] : [{ tool, feature, cell }];
  }),
);

describe(`engine ${engineInUse()}`, () => {
  it.each(cells)('$tool: $feature', ({ cell }) => cell(server), SLOW);
});

it('README.md has this very table', () => {
  const readme = readFileSync(join(ROOT, 'test/interop/README.md'), 'utf8');
  const rows = FEATURES.map((feature) => {
    const words = TOOLS.map((tool) => {
      const cell = COLUMNS[tool][feature];
      return typeof cell === 'string' ? `- ${cell}` : 'yes';
    });
    return `| ${feature} | ${words.join(' | ')} |`;
  });
  expect(readme.split('\n').filter((line) => rows.includes(line))).toEqual(rows);
});
