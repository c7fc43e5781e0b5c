/** DM_NAME_LEN is 128 with its final NUL (dm-ioctl.h). */
const MAX_NAME_BYTES = 127;

/**
 * What is wrong with a device name, or undefined. A name is also an NBD export name, a file name in
 * the state directory and a word on a command line, so it must be harmless as each of them.
 */
export function nameError(name: string): string | undefined {
  if (name === '') return 'a device name must not be empty';
  const shown = JSON.stringify(name);
  if (name.includes('/')) return `device name ${shown}: a name must not contain "/"`;
  if (name.startsWith('-')) return `device name ${shown}: a name must not begin with "-"`;
  if (name === '.' || name === '..') return `device name ${shown}: not a name`;
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) {
    return `device name ${shown}: a name must not contain control characters`;
  }
  if (/\p{Surrogate}/u.test(name)) return 'a device name must be well-formed Unicode';
  const bytes = utf8Bytes(name);
  if (bytes > MAX_NAME_BYTES) {
    return `device name of ${bytes} bytes: at most ${MAX_NAME_BYTES} are allowed`;
  }
  return undefined;
}

/** Length in UTF-8; core has no TextEncoder. */
function utf8Bytes(text: string): number {
  let bytes = 0;
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}
