#!/usr/bin/env node
/** `dmiod`. The daemon's own modules are loaded when the process is as it shall be. */
import { becomeIoFlusher } from './io-flusher.ts';

becomeIoFlusher();
const { main } = await import('./dmiod.ts');
// Timers and sockets of what was cut short must not keep the process.
process.exit(await main());
