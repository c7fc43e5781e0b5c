/** `npm run conformance -- [LABEL=]URI...`: what each server does of what proto.md asks. */
import { withServers } from './peers.ts';
import { runChecks, tableOf, type Verdict } from './run.ts';

const args = process.argv.slice(2);
const isPeers = args.length === 1 && args[0] === '--peers';
if (!isPeers && (args.length === 0 || args.some((arg) => arg.startsWith('-')))) {
  process.stderr.write(
    'usage: npm run conformance -- [LABEL=]URI...\n' +
      '       npm run conformance -- --peers     starts dmiod, nbdkit, qemu-nbd and nbd-server itself\n' +
      'Checks NBD servers against proto.md. Their exports, of 64 MiB or more, are written to.\n' +
      'example: npm run conformance -- nbdkit=nbd://localhost:10809/ dmiod="nbd+unix:///data?socket=/run/dmiod/nbd.sock"\n',
  );
  process.exit(2);
}

const columns = new Map<string, readonly Verdict[]>();
let breaches = 0;

/** Of the peers, breaches are data; of what was named, a failure. */
async function look(label: string, uri: string, revive?: () => Promise<void>): Promise<void> {
  const verdicts = await runChecks(uri, revive);
  const broken = verdicts.filter(({ check, result }) => result === 'no' && check.level === 'MUST');
  if (!isPeers || label === 'dmiod') breaches += broken.length;
  columns.set(label, verdicts);
}

try {
  if (isPeers) await withServers(look);
  for (const arg of isPeers ? [] : args) {
    const [, label, uri = ''] = /^(?:([\w.-]+)=)?(nbd.*)$/.exec(arg) ?? [];
    if (uri === '') throw new Error(`${arg}: expected [LABEL=]URI`);
    await look(label ?? uri, uri);
  }
} catch (error) {
  process.stderr.write(`conformance: ${(error as Error).message}\n`);
  process.exit(1);
}
process.stdout.write(`${tableOf(columns)}\n`);
process.exit(breaches === 0 ? 0 : 1);
