/** Shell completion, made from the commands themselves, so that it cannot fall behind them. */
import type { Command } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

interface Entry {
  /** `leg fail`; empty for the program itself. */
  readonly path: string;
  readonly about: string;
  readonly options: readonly { readonly flag: string; readonly about: string }[];
  readonly subcommands: readonly string[];
  /** Its first argument is a device. */
  readonly takesDevice: boolean;
}

export function completionOf(program: Command, shell: Shell): string {
  const entries = entriesOf(program, '');
  switch (shell) {
    case 'bash':
      return bash(entries);
    case 'zsh':
      return zsh(entries);
    case 'fish':
      return fish(entries);
  }
}

function entriesOf(command: Command, path: string): readonly Entry[] {
  const visible = command.createHelp().visibleCommands(command);
  const subcommands = visible.filter((one) => one.name() !== 'help');
  const options = command
    .createHelp()
    .visibleOptions(command)
    .map(({ long, short, description }) => ({ flag: long ?? short ?? '', about: description }));
  const [first] = command.registeredArguments;
  const entry = {
    path,
    about: command.description(),
    options,
    subcommands: subcommands.map((one) => one.name()),
    takesDevice: first?.name().split('|').includes('NAME') === true && command.name() !== 'create',
  };
  const below = subcommands.flatMap((one) => entriesOf(one, `${path} ${one.name()}`.trim()));
  return [entry, ...below];
}

const DEVICES = "dmio ls 2>/dev/null | awk 'NR > 1 { print $1 }'";

function bash(entries: readonly Entry[]): string {
  const cases = entries.map(({ path, options, subcommands, takesDevice }) => {
    const words = [...subcommands, ...options.map(({ flag }) => flag)].join(' ');
    const devices = takesDevice ? ` $(${DEVICES})` : '';
    return `    '${path}') words="${words}${devices}" ;;`;
  });
  const paths = entries.filter(({ path }) => path !== '').map(({ path }) => `'${path}'`);
  return `# bash completion for dmio
_dmio() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path='' word words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case "\${path:+$path }$word" in ${paths.join(' | ')}) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _dmio dmio
`;
}

function zsh(entries: readonly Entry[]): string {
  const cases = entries.map(({ path, options, subcommands, takesDevice }) => {
    const words = [...subcommands, ...options.map(({ flag }) => flag)].join(' ');
    const devices = takesDevice ? ` \${(f)"$(${DEVICES})"}` : '';
    return `    '${path}') words_=(${words}${devices}) ;;`;
  });
  const paths = entries.filter(({ path }) => path !== '').map(({ path }) => `'${path}'`);
  return `#compdef dmio
_dmio() {
  local path_='' word
  local -a words_
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${path_:+$path_ }$word" in ${paths.join(' | ')}) path_="\${path_:+$path_ }$word" ;; esac
  done
  case "$path_" in
${cases.join('\n')}
  esac
  compadd -a words_ || _files
}
_dmio "$@"
`;
}

function fish(entries: readonly Entry[]): string {
  const lines: string[] = [];
  for (const { path, about, options, takesDevice } of entries) {
    const [first = '', second] = path.split(' ');
    const here =
      second === undefined ? first : `${first}; and __fish_seen_subcommand_from ${second}`;
    const parent =
      second === undefined ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${first}`;
    if (path !== '') {
      lines.push(`complete -c dmio -f -n '${parent}' -a ${second ?? first} -d ${quoted(about)}`);
    }
    const when = path === '' ? '' : ` -n '__fish_seen_subcommand_from ${here}'`;
    for (const option of options) {
      const flag = option.flag.replace(/^--?/, '');
      lines.push(`complete -c dmio${when} -l ${flag} -d ${quoted(option.about)}`);
    }
    if (takesDevice) lines.push(`complete -c dmio${when} -f -a ${quoted(`(${DEVICES})`)}`);
  }
  return `# fish completion for dmio\n${lines.join('\n')}\n`;
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
