/** `nbd://HOST/NAME`, `nbd+unix:///NAME?socket=PATH`, `dm:NAME`: every other leg is a path. */
export function isLegUri(leg: string): boolean {
  return /^(?:nbds?(?:\+unix)?:\/\/|dm:)/.test(leg);
}
