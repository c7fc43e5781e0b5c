import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.ts';

interface Issue {
  /** As OpenSSL writes alternative names. */
  readonly hosts?: string;
  readonly days?: number;
}

/**
 * Folders as libnbd, qemu and nbdkit have them: `server` (server-cert.pem, server-key.pem,
 * ca-cert.pem), and one for each client (client-cert.pem, client-key.pem, ca-cert.pem).
 */
export class TestAuthority {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    this.openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-keyout', 'ca-key.pem', '-out', 'ca-cert.pem', '-days', '2', '-subj', '/CN=test CA'],
    );
  }

  /**
   * A folder with a key and a certificate; `role` is the first part of their file names. `days` below
   * 0: it expired so long ago.
   */
  issue(name: string, role: 'server' | 'client', subject: string, more: Issue = {}): string {
    const { hosts = 'DNS:localhost,IP:127.0.0.1', days = 2 } = more;
    const folder = join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    const [key, request, cert] = ['key', 'req', 'cert'].map((w) =>
      join(folder, `${role}-${w}.pem`),
    );
    const usage = role === 'server' ? 'serverAuth' : 'clientAuth';
    const extensions = join(folder, 'extensions');
    const names = `subjectAltName=${hosts}\n`;
    writeFileSync(extensions, `${names}extendedKeyUsage=${usage}\n`);
    this.openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-keyout', key ?? '', '-out', request ?? '', '-subj', subject],
    );
    this.openssl(
      ...['x509', '-req', '-in', request ?? '', '-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem'],
      ...['-CAcreateserial', '-out', cert ?? '', '-days', String(days), '-extfile', extensions],
    );
    this.openssl('x509', '-in', 'ca-cert.pem', '-out', join(folder, 'ca-cert.pem'));
    return folder;
  }

  private openssl(...args: readonly string[]): void {
    const ran = run(this.folder, 'openssl', ...args);
    if (ran.code !== 0) throw new Error(`openssl ${args[0] ?? ''}: ${ran.stderr}`);
  }
}
