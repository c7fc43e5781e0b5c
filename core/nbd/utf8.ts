/**
 * UTF-8 to and from bytes. ECMAScript alone has no TextDecoder, but its URI functions are an exact
 * UTF-8 codec: they refuse overlong forms, surrogates and cut sequences. Handshake only.
 */

/** Undefined when the bytes are not UTF-8, or hold a NUL (proto.md "Conventions": MUST NOT). */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string | undefined {
  let escaped = '';
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === 0) return undefined;
    escaped += `%${byte.toString(16).padStart(2, '0')}`;
  }
  try {
    return decodeURIComponent(escaped);
  } catch {
    return undefined;
  }
}

/** Undefined when the text has half a surrogate pair, which UTF-8 cannot say. */
export function encodeUtf8(text: string): Uint8Array | undefined {
  let escaped: string;
  try {
    escaped = encodeURIComponent(text);
  } catch {
    return undefined;
  }
  const bytes: number[] = [];
  for (let at = 0; at < escaped.length; at += 1) {
    if (escaped[at] === '%') {
      bytes.push(Number.parseInt(escaped.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(escaped.charCodeAt(at));
    }
  }
  return Uint8Array.from(bytes);
}
