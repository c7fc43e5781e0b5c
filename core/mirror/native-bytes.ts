// Numbers and texts of the native metadata: little-endian, written out, the same on every machine.

const HEX = '0123456789abcdef';
const DASH = 0x2d;

/** A whole number below 2^53 in 8 bytes. */
export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** null: 2^53 or more, which nothing of ours ever is. */
export function getU64(view: DataView, at: number): number | null {
  const value = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
  return Number.isSafeInteger(value) ? value : null;
}

/** `hex`: two digits a byte; dashes do not count. */
export function putHex(bytes: Uint8Array, at: number, hex: string): void {
  let place = at;
  let high = -1;
  for (let i = 0; i < hex.length; i += 1) {
    const code = hex.charCodeAt(i);
    if (code === DASH) continue;
    const digit = code < 0x3a ? code - 0x30 : (code | 0x20) - 0x57;
    if (high < 0) {
      high = digit;
      continue;
    }
    bytes[place] = (high << 4) | digit;
    place += 1;
    high = -1;
  }
}

export function getHex(bytes: Uint8Array, at: number, length: number): string {
  let text = '';
  for (let i = at; i < at + length; i += 1) {
    const byte = bytes[i] ?? 0;
    text += (HEX[byte >>> 4] ?? '') + (HEX[byte & 15] ?? '');
  }
  return text;
}

/** As people write it: 8-4-4-4-12 digits. */
export function getUuid(bytes: Uint8Array, at: number): string {
  const hex = getHex(bytes, at, 16);
  const cuts = [0, 8, 12, 16, 20, 32];
  return cuts
    .slice(1)
    .map((end, i) => hex.slice(cuts[i], end))
    .join('-');
}

export function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(text);
}

/** UTF-8, padded with zeros; cut between two characters when it is longer than its place. */
export function putText(bytes: Uint8Array, at: number, length: number, text: string): void {
  const place = bytes.subarray(at, at + length).fill(0);
  let used = 0;
  for (const character of text) {
    const code = utf8(character.codePointAt(0) ?? 0);
    if (used + code.length > length) return;
    place.set(code, used);
    used += code.length;
  }
}

/** What `putText` has put; anything else is shown with `?`. */
export function getText(bytes: Uint8Array, at: number, length: number): string {
  let text = '';
  let i = at;
  const end = at + length;
  while (i < end && bytes[i] !== 0) {
    const first = bytes[i] ?? 0;
    const size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    let point = size === 1 ? first : first & (0x7f >> size);
    for (let k = 1; k < size; k += 1) point = (point << 6) | ((bytes[i + k] ?? 0) & 0x3f);
    const isPlain = point >= 0x20 && point <= 0x10ffff && i + size <= end;
    text += isPlain ? String.fromCodePoint(point) : '?';
    i += size;
  }
  return text;
}

/** core knows no TextEncoder: it is the platform's. */
function utf8(point: number): number[] {
  if (point < 0x80) return [point];
  if (point < 0x800) return [0xc0 | (point >> 6), 0x80 | (point & 0x3f)];
  const last = [0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f)];
  if (point < 0x10000) return [0xe0 | (point >> 12), ...last];
  return [0xf0 | (point >> 18), 0x80 | ((point >> 12) & 0x3f), ...last];
}

/** Milliseconds since 1970 as `2026-11-22T11:40:00Z`; core has no Date. */
export function isoTime(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const day = Math.floor(seconds / 86_400);
  // Days since 1 March of year 0: then the leap day is the last of its year.
  const days = day + 719_468;
  const era = Math.floor(days / 146_097);
  const ofEra = days - era * 146_097;
  const year = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) /
      365,
  );
  const ofYear = ofEra - (365 * year + Math.floor(year / 4) - Math.floor(year / 100));
  const month = Math.floor((5 * ofYear + 2) / 153);
  const date = ofYear - Math.floor((153 * month + 2) / 5) + 1;
  const isLate = month >= 10;
  const two = (value: number): string => String(value).padStart(2, '0');
  const years = String(year + era * 400 + (isLate ? 1 : 0)).padStart(4, '0');
  const rest = seconds - day * 86_400;
  const clock = [rest / 3600, (rest / 60) % 60, rest % 60].map((part) => two(Math.floor(part)));
  return `${years}-${two(isLate ? month - 9 : month + 3)}-${two(date)}T${clock.join(':')}Z`;
}
