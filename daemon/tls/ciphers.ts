/**
 * Pre-shared keys with forward secrecy. Those of TLS 1.3 go with SHA-256 only (OpenSSL takes a key
 * without a hash for one of SHA-256), so that one is preferred.
 */
export const PSK_CIPHERS =
  'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256';
