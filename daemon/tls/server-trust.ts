/** What a remote leg shows its server, and whom it believes: read from files, plain data for the thread. */
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';

import type { UriTls } from '../../core/nbd/uri.ts';
import { badFile, contextOptions, parsePsk, readIfThere, readPem } from './credentials.ts';

export interface ServerTrust {
  readonly serverName: string;
  readonly cert: string | null;
  readonly key: string | null;
  /** Null: the authorities Node believes; none at all where there is a key. */
  readonly ca: string | null;
  readonly crl: string | null;
  /** Identity and key. */
  readonly psk: readonly [string, string] | null;
}

/**
 * Read for each connection, so that new files are used without a restart.
 * @throws ControlError bad-config, one line: which file, and what is wrong with it
 */
export function loadServerTrust({ serverName, certificates: folder, psk }: UriTls): ServerTrust {
  const nothing = { serverName, cert: null, key: null, ca: null, crl: null, psk: null };
  if (psk !== null) {
    const found = parsePsk(psk.file, readPem(psk.file)).find(([name]) => name === psk.identity);
    if (found === undefined) throw badFile(`${psk.file}: there is no key of ${psk.identity}`);
    return { ...nothing, psk: found };
  }
  if (folder === null) return nothing;
  const trust = {
    ...nothing,
    ca: readPem(join(folder, 'ca-cert.pem')),
    crl: readIfThere(join(folder, 'ca-crl.pem')),
    cert: readIfThere(join(folder, 'client-cert.pem')),
    key: readIfThere(join(folder, 'client-key.pem')),
  };
  if ((trust.cert === null) !== (trust.key === null)) {
    const missing = trust.cert === null ? 'client-cert.pem' : 'client-key.pem';
    throw badFile(`${join(folder, missing)}: there is no such file, but the other half is there`);
  }
  checkContext(trust, folder);
  return trust;
}

function checkContext(trust: ServerTrust, folder: string): void {
  try {
    createSecureContext(contextOptions(trust));
  } catch (error) {
    throw badFile(`the certificates in ${folder} cannot be used: ${(error as Error).message}`);
  }
}
