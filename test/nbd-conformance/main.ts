/** `npm run conformance -- [LABEL=]URI...`: what each server does of what proto.md asks. */
import { runChecks, tableOf, type Verdict } from './run.ts';

const args = process.argv.slice(2);
if (args.length === 0 || args.some((arg) => arg.startsWith('-'))) {
  process.stderr.write(
    'usage: npm run conformance -- [LABEL=]URI...\n' +
      'Checks NBD servers against proto.md. Their exports, of 64 MiB or more, are written to.\n' +
      'example: npm run conformance -- nbdkit=nbd://localhost:10809/ dmiod="nbd+unix:///data?socket=/run/dmiod/nbd.sock"\n',
  );
  process.exit(2);
}

const columns = new Map<string, readonly Verdict[]>();
let breaches = 0;
try {
  for (const arg of args) {
    const [, label, uri = ''] = /^(?:([\w.-]+)=)?(nbd.*)$/.exec(arg) ?? [];
    if (uri === '') throw new Error(`${arg}: expected [LABEL=]URI`);
    const verdicts = await runChecks(uri);
    breaches += verdicts.filter(
      ({ check, result }) => result === 'no' && check.level === 'MUST',
    ).length;
    columns.set(label ?? uri, verdicts);
  }
} catch (error) {
  process.stderr.write(`conformance: ${(error as Error).message}\n`);
  process.exit(1);
}
process.stdout.write(`${tableOf(columns)}\n`);
process.exit(breaches === 0 ? 0 : 1);
