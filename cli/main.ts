#!/usr/bin/env node
/** `dmio`: reads the command line, runs one command, ends with CONTRACT section 4's exit codes. */
import { Command, CommanderError } from 'commander';
import { ControlError, EXIT, oneLine } from '../core/control/error.ts';
import { VERSION } from '../core/control/version.ts';
import { addAssemble } from './commands/assemble.ts';
import { addAttach } from './commands/attach.ts';
import { addAttached } from './commands/attached.ts';
import { addCompletion, addManual } from './commands/completion.ts';
import { addCreate } from './commands/create.ts';
import { addDeps } from './commands/deps.ts';
import { addDetach } from './commands/detach.ts';
import { addDoctor } from './commands/doctor.ts';
import { addExamine } from './commands/examine.ts';
import { addEvents } from './commands/events.ts';
import { addInfo } from './commands/info.ts';
import { addLeg } from './commands/leg.ts';
import { addLs } from './commands/ls.ts';
import { addMessage } from './commands/message.ts';
import { addClear, addReload } from './commands/reload.ts';
import { addRemove } from './commands/remove.ts';
import { addResync } from './commands/resync.ts';
import { addScrub } from './commands/scrub.ts';
import { addResize } from './commands/resize.ts';
import { addResume } from './commands/resume.ts';
import { addServe } from './commands/serve.ts';
import { addStats } from './commands/stats.ts';
import { addStatus } from './commands/status.ts';
import { addSuspend } from './commands/suspend.ts';
import { addTable } from './commands/table.ts';
import { addTargets } from './commands/targets.ts';
import { addTop } from './commands/top.ts';
import { addVersion } from './commands/version.ts';
import { addWait } from './commands/wait.ts';
import { DEFAULT_CONTROL, withExample } from './context.ts';

/** In the order of the help. */
const COMMANDS = [
  addServe,
  addCreate,
  addAssemble,
  addRemove,
  addLs,
  addStatus,
  addTable,
  addSuspend,
  addReload,
  addResize,
  addResume,
  addClear,
  addMessage,
  addInfo,
  addDeps,
  addWait,
  addLeg,
  addExamine,
  addScrub,
  addResync,
  addStats,
  addTop,
  addEvents,
  addAttach,
  addDetach,
  addAttached,
  addTargets,
  addDoctor,
  addCompletion,
  addManual,
  addVersion,
];

function makeProgram(): Command {
  const program = new Command('dmio')
    .description('mirrored block devices over NBD: the command line of dmiod')
    .version(VERSION)
    .option('--control <PATH>', `the daemon's socket (env DMIO_CONTROL, else ${DEFAULT_CONTROL})`)
    .option('--json', 'print JSON for programs')
    .exitOverride()
    // One line, whatever commander has to add.
    .configureOutput({ outputError: (text, write) => write(`${errorLine(text)}\n`) });
  withExample(
    program,
    'dmio serve --mirror a.img b.img --size 1G --create --socket /tmp/nbd.sock',
    'dmio status',
  );
  for (const add of COMMANDS) add(program);
  return program;
}

function errorLine(text: string): string {
  const words = text
    .trim()
    .replace(/^error: /, '')
    .split('\n');
  return `dmio: ${words.map(oneLine).join(' ')}`;
}

function exitOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.DONE : EXIT.USAGE;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`dmio: ${oneLine(message)}\n`);
  return error instanceof ControlError ? error.exit : EXIT.FAILED;
}

// `dmio ls | head -1`: whoever closed the pipe has read enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

try {
  await makeProgram().parseAsync();
} catch (error) {
  process.exitCode = exitOf(error);
}
