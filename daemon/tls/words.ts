/** What went wrong in TLS, as one clause for people. */

import type { ServerTrust } from './server-trust.ts';

/** By Node's and OpenSSL's codes; `SERVER` stands for the name that was wanted. */
const WORDS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "the server's certificate has expired",
  CERT_NOT_YET_VALID: "the server's certificate is not valid yet",
  CERT_REVOKED: "the server's certificate is revoked",
  CRL_HAS_EXPIRED: 'the list of revoked certificates (ca-crl.pem) has expired',
  UNABLE_TO_GET_CRL: 'ca-crl.pem says nothing of the authority of the certificate',
  INVALID_PURPOSE: "the server's certificate is not one for servers",
  ERR_TLS_CERT_ALTNAME_INVALID: "the server's certificate is not for SERVER",
};
const UNKNOWN_AUTHORITY = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
];
/** Alerts that the other end has sent, as OpenSSL's codes end. */
const ALERTS: readonly (readonly [RegExp, string])[] = [
  [/ALERT_CERTIFICATE_REQUIRED|ALERT_NO_CERTIFICATE/, 'the server wants a client certificate'],
  [/ALERT_CERTIFICATE_EXPIRED/, 'the server says that our certificate has expired'],
  [/ALERT_CERTIFICATE_REVOKED/, 'the server says that our certificate is revoked'],
  [
    /ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)/,
    'the server does not believe our certificate',
  ],
  [
    /ALERT_(HANDSHAKE_FAILURE|INSUFFICIENT_SECURITY|PROTOCOL_VERSION)|NO_SHARED_CIPHER/,
    'the server has no version, cipher or key in common with us',
  ],
];

export function tlsWords(error: NodeJS.ErrnoException, trust: ServerTrust): string {
  const { code = '', message } = error;
  const known = WORDS[code];
  if (known !== undefined) return known.replace('SERVER', trust.serverName);
  // Libraries differ in how they say so (OpenSSL: an illegal parameter, GnuTLS: a decryption error).
  if (trust.psk !== null && /ALERT/.test(code))
    return 'the server does not know our pre-shared key';
  if (UNKNOWN_AUTHORITY.includes(code)) {
    return "the server's certificate is of an authority that we do not believe";
  }
  const alert = ALERTS.find(([pattern]) => pattern.test(code));
  if (alert !== undefined) return alert[1];
  return oneLine(message);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, 200);
}
