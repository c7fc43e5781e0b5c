/** What a server proves itself with, and whom it believes: read from files, checked, plain data. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { ControlError } from '../../core/control/error.ts';
import { codeOf, reasonOf } from '../system-error.ts';

export interface TlsFiles {
  /**
   * A folder as nbdkit, qemu and libnbd have it: server-cert.pem, server-key.pem, and perhaps
   * ca-cert.pem and ca-crl.pem for the certificates of clients.
   */
  readonly certificates: string | undefined;
  /** Lines `IDENTITY:HEX KEY`, as psktool makes them. */
  readonly pskFile: string | undefined;
  /** Clients must have a certificate that ca-cert.pem vouches for. */
  readonly verifyClients: boolean;
}

export interface TlsCredentials {
  readonly cert: string | null;
  readonly key: string | null;
  /** Null: clients need no certificate. */
  readonly ca: string | null;
  readonly crl: string | null;
  /** Identity and key. */
  readonly psk: readonly (readonly [string, string])[];
}

/**
 * @throws ControlError bad-config, one line: which file, and what is wrong with it
 */
export function loadCredentials(files: TlsFiles): TlsCredentials {
  const { certificates: folder, pskFile, verifyClients } = files;
  if (folder === undefined && pskFile === undefined) {
    throw badFile('TLS needs a folder of certificates, or a file of pre-shared keys');
  }
  if (verifyClients && folder === undefined) {
    throw badFile('clients cannot be verified without a folder of certificates');
  }
  const credentials = {
    cert: folder === undefined ? null : readPem(join(folder, 'server-cert.pem')),
    key: folder === undefined ? null : readPem(join(folder, 'server-key.pem')),
    ca: folder !== undefined && verifyClients ? readPem(join(folder, 'ca-cert.pem')) : null,
    crl: folder !== undefined && verifyClients ? readIfThere(join(folder, 'ca-crl.pem')) : null,
    psk: pskFile === undefined ? [] : parsePsk(pskFile, readPem(pskFile)),
  };
  checkContext(credentials, folder);
  return credentials;
}

type Pems = Pick<TlsCredentials, 'cert' | 'key' | 'ca' | 'crl'>;

/** What OpenSSL is given: nothing where there is nothing. */
export function contextOptions({ cert, key, ca, crl }: Pems): {
  cert?: string;
  key?: string;
  ca?: string;
  crl?: string;
} {
  return {
    ...(cert !== null && { cert }),
    ...(key !== null && { key }),
    ...(ca !== null && { ca }),
    ...(crl !== null && { crl }),
  };
}

/** A key that does not belong to its certificate is found now, not by the first client. */
function checkContext(credentials: TlsCredentials, folder: string | undefined): void {
  try {
    createSecureContext(contextOptions(credentials));
  } catch (error) {
    const { message } = error as Error;
    throw badFile(`the certificates in ${folder ?? ''} cannot be used: ${message}`);
  }
}

export function parsePsk(file: string, text: string): readonly (readonly [string, string])[] {
  const keys: [string, string][] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const match = /^([^:]{1,128}):([0-9a-fA-F]+)$/.exec(line.trim());
    const [, identity = '', key = ''] = match ?? [];
    // RFC 4279 wants keys of at least 16 bytes to be worth the name.
    if (match === null || key.length < 32 || key.length % 2 !== 0) {
      throw badFile(`${file}:${i + 1}: expected IDENTITY:HEX with a key of at least 16 bytes`);
    }
    keys.push([identity, key]);
  }
  if (keys.length === 0) throw badFile(`${file}: there is no key in it`);
  return keys;
}

export function readPem(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw badFile(codeOf(error) === 'ENOENT' ? `${file}: there is no such file` : reasonOf(error));
  }
}

export function readIfThere(file: string): string | null {
  return existsSync(file) ? readPem(file) : null;
}

export function badFile(message: string): ControlError {
  return new ControlError('bad-config', message);
}
