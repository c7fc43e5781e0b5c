import type { Command } from 'commander';
import {
  CACHE_HELP,
  LEG_TIMEOUT_HELP,
  LOG_HELP,
  METADATA_HELP,
  REGION_SIZE_HELP,
  countOption,
  legOption,
  legsOption,
  sizeOption,
  withExample,
  wordsOption,
} from '../context.ts';

export function addServe(program: Command): void {
  const command = program
    .command('serve')
    .description('serve one device in the foreground, without a daemon or a state directory')
    .option('--mirror <LEG...>', 'a mirror of 2 to 64 legs', legsOption)
    .option('--linear <LEG>', 'one leg as it is', legOption)
    .option('--table <TABLE>', "table lines, the kernel's, one a target; - reads stdin")
    .option('--size <S>', 'size (default: the smallest leg)', sizeOption)
    .option('--create', 'make leg files of --size that are missing; legs may carry other data')
    .option('--log <LOG>', LOG_HELP)
    .option('--metadata <PLACE>', METADATA_HELP)
    .option('--region-size <S>', REGION_SIZE_HELP, sizeOption)
    .option('--cache <MODE>', CACHE_HELP, wordsOption)
    .option('--leg-timeout <SECONDS>', LEG_TIMEOUT_HELP, wordsOption)
    .option('--assume-clean', 'the legs are equal already: no first resync')
    .option('--name <N>', 'export name', 'data')
    .option('--socket <PATH>', 'listen on a unix socket')
    .option('--port <P>', 'listen on a TCP port; 0 takes a free one', countOption)
    .option('--bind <ADDR>', 'address of the TCP port (default: 127.0.0.1)')
    .option('--stdio', 'speak NBD on stdin and stdout, to one client')
    .option('--read-only', 'refuse writes')
    .option('--engine <E>', 'what moves the data: auto, uring or node')
    .option('--tls <MODE>', 'off, selective or required (default: required with keys, else off)')
    .option('--tls-certificates <DIR>', 'server-cert.pem, server-key.pem, ca-cert.pem, ca-crl.pem')
    .option('--tls-psk <FILE>', 'pre-shared keys, lines of IDENTITY:HEX')
    .option('--tls-verify-clients', 'clients need a certificate that ca-cert.pem vouches for')
    .option(
      '--allow <RULE...>',
      'who may use it: uid:N, gid:N, address:IP/BITS, subject:CN=X, psk:ID',
    )
    .option('--allow-read <RULE...>', 'who may only read it')
    .option('--allow-plain-tcp', 'listen beyond this machine without TLS');
  withExample(
    command,
    'dmio serve --mirror a.img b.img --size 1G --create --socket /tmp/nbd.sock',
    'dmio serve --linear disk.img --read-only --port 10809',
  );
  command.action(async (options: object) => {
    const { control } = command.optsWithGlobals<{ control?: string }>();
    // The one door from cli to daemon, opened when it is needed: a daemon weighs 100 ms.
    const { serve } = await import('../../daemon/serve.ts');
    process.exitCode = await serve({ ...options, control });
  });
}
