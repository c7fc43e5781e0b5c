/** Bytes from a stream's buffer to where they belong. One small view a copy, none inside one page. */
export function copyBytes(
  from: Uint8Array,
  fromAt: number,
  to: Uint8Array,
  toAt: number,
  count: number,
): void {
  if (from === to) to.copyWithin(toAt, fromAt, fromAt + count);
  else to.set(from.subarray(fromAt, fromAt + count), toAt);
}
