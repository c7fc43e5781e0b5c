// A server on stdin and stdout over 1 MiB of memory: what libnbd's connect_command starts.
import { Export } from '../../../core/export/export.ts';
import { ExportTable } from '../../../core/export/export-table.ts';
import { NbdServer } from '../../../daemon/net/server.ts';
import { createNodeLoop } from '../../../daemon/node-loop.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const loop = createNodeLoop();
const table = new ExportTable();
table.add(new Export({ name: 'stdio', device: new MemoryDevice({ loop, sectors: 2048 }) }));
const server = new NbdServer({ exports: table, loop });
await server.serveStdio();
await server.close();
