/** dmio(1), made from the commands themselves. */
import type { Command } from 'commander';
import { VERSION } from '../core/control/version.ts';

export function manualOf(program: Command): string {
  const lines = [
    `.TH DMIO 1 "" "dmiod ${VERSION}" "User Commands"`,
    '.SH NAME',
    `dmio \\- ${escaped(program.description())}`,
    '.SH SYNOPSIS',
    '.B dmio',
    '[\\fIOPTIONS\\fR] \\fICOMMAND\\fR ...',
    '.SH OPTIONS',
    ...optionsOf(program),
    '.SH COMMANDS',
    ...commandsOf(program, 'dmio'),
    '.SH EXIT STATUS',
    '0 done; 1 failed, the reason is on stderr; 2 wrong usage; 3 the daemon cannot be reached;',
    '4 no such device or leg; 5 refused, because it is busy or would lose data.',
    '.SH SEE ALSO',
    'dmiod(8), dmiod.toml(5), nbd\\-client(8)',
  ];
  return `${lines.join('\n')}\n`;
}

function commandsOf(command: Command, path: string): readonly string[] {
  const help = command.createHelp();
  return help
    .visibleCommands(command)
    .filter((one) => one.name() !== 'help')
    .flatMap((one) => {
      const name = `${path} ${one.name()}`;
      if (one.commands.length > 0) return commandsOf(one, name);
      const usage = one.usage().replace(/^\[options\] ?/, '');
      return [
        `.SS "${escaped(`${name} ${usage}`.trim())}"`,
        `${escaped(one.description())}.`,
        ...optionsOf(one),
      ];
    });
}

function optionsOf(command: Command): readonly string[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .filter(({ long }) => long !== '--help')
    .flatMap(({ flags, description }) => ['.TP', `.B ${escaped(flags)}`, escaped(description)]);
}

/** roff: a backslash and a hyphen are escaped, a line must not begin like a request. */
function escaped(text: string): string {
  return text
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(/^(?=[.'])/gm, '\\&')
    .replace(/"/g, '\\(dq');
}
