import fc from 'fast-check';

import { decodeUtf8, encodeUtf8 } from '../../../core/nbd/utf8.ts';

describe('UTF-8', () => {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  it('is decoded as the platform decodes it, or refused as it refuses', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        let expected: string | undefined;
        try {
          expected = bytes.includes(0) ? undefined : strict.decode(bytes);
        } catch {
          expected = undefined;
        }
        expect(decodeUtf8(bytes, 0, bytes.length)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });

  it('is encoded as the platform encodes it; half a pair is refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(encodeUtf8(text)).toEqual(new TextEncoder().encode(text));
      }),
    );
    expect(encodeUtf8('\ud800')).toBeUndefined();
  });

  it('is decoded from the range given only', () => {
    expect(decodeUtf8(new TextEncoder().encode('abcdef'), 2, 4)).toBe('cd');
    expect(decodeUtf8(new Uint8Array(0), 0, 0)).toBe('');
  });
});
