import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
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

  /** A list of revoked certificates, those of the folders `issue` gave. Returns its file. */
  revocations(tool: 'openssl' | 'certtool', folders: readonly string[]): string {
    const file = join(this.folder, 'list.pem');
    const certificates = folders.flatMap((folder) =>
      ['server', 'client'].map((role) => join(folder, `${role}-cert.pem`)).filter(existsSync),
    );
    if (tool === 'openssl') this.listByOpenssl(file, certificates);
    else this.listByCerttool(file, certificates);
    return file;
  }

  private listByOpenssl(file: string, certificates: readonly string[]): void {
    const path = (name: string): string => join(this.folder, name);
    writeFileSync(path('index'), '');
    const settings = 'database = index\ndefault_md = sha256\ndefault_crl_days = 2\n';
    writeFileSync(path('list.cnf'), `[ca]\ndefault_ca = ours\n[ours]\n${settings}`);
    const by = ['ca', '-config', 'list.cnf', '-keyfile', 'ca-key.pem', '-cert', 'ca-cert.pem'];
    for (const certificate of certificates) this.openssl(...by, '-revoke', certificate);
    this.openssl(...by, '-gencrl', '-out', file);
  }

  private listByCerttool(file: string, certificates: readonly string[]): void {
    writeFileSync(join(this.folder, 'list.tmpl'), 'crl_next_update = 2\ncrl_number = 1\n');
    const of = certificates.flatMap((certificate) => ['--load-certificate', certificate]);
    const by = ['--load-ca-privkey', 'ca-key.pem', '--load-ca-certificate', 'ca-cert.pem'];
    const args = ['--generate-crl', ...by, ...of, '--template', 'list.tmpl', '--outfile', file];
    const ran = run(this.folder, 'certtool', ...args);
    if (ran.code !== 0) throw new Error(`certtool: ${ran.stderr}`);
  }

  private openssl(...args: readonly string[]): void {
    const ran = run(this.folder, 'openssl', ...args);
    if (ran.code !== 0) throw new Error(`openssl ${args[0] ?? ''}: ${ran.stderr}`);
  }
}
