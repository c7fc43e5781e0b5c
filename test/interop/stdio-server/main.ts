// A server over 1 MiB of memory, as libnbd starts one: on stdin and stdout (connect_command), or on the
// socket it is handed as descriptor 3 (connect_systemd_socket_activation).
import { Export } from '../../../core/export/export.ts';
import { ExportTable } from '../../../core/export/export-table.ts';
import { NbdServer } from '../../../daemon/net/server.ts';
import { createNodeLoop } from '../../../daemon/node-loop.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const loop = createNodeLoop();
const table = new ExportTable();
table.add(new Export({ name: 'stdio', device: new MemoryDevice({ loop, sectors: 2048 }) }));
const server = new NbdServer({ exports: table, loop });
if (process.env['LISTEN_FDS'] === '1') {
  await server.listen({ kind: 'fd', fd: 3 });
} else {
  await server.serveStdio();
  await server.close();
}
