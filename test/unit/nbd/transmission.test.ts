import { COMMAND } from '../../../core/nbd/proto.ts';
import { REPLY_STYLE } from '../../../core/nbd/chunk.ts';
import { flagsOf, FRAME, RequestFramer } from '../../../core/nbd/transmission.ts';
import { concat } from '../../support/hex.ts';
import { request } from '../../support/nbd-messages.ts';

/** Runs bytes through a framer, in the chunks given; what was framed, as text. */
function framed(chunks: readonly Uint8Array[]): string[] {
  const framer = new RequestFramer();
  const seen: string[] = [];
  for (const chunk of chunks) {
    let at = 0;
    while (at < chunk.length && framer.state !== FRAME.DEAD) {
      if (framer.state === FRAME.PAYLOAD) {
        const count = Math.min(framer.payloadLeft, chunk.length - at);
        seen.push(...[...chunk.subarray(at, at + count)].map((byte) => `payload ${String(byte)}`));
        framer.payloadTaken(count);
        at += count;
        continue;
      }
      at = framer.feed(chunk, at, chunk.length);
      if (framer.state === FRAME.REQUEST) {
        const { type, cookieLow, offset, lengthBytes } = framer.header;
        seen.push(`type ${type} cookie ${cookieLow} at ${offset} length ${lengthBytes}`);
        framer.accept();
      }
    }
  }
  seen.push(framer.isAtBoundary ? 'boundary' : framer.state === FRAME.DEAD ? 'dead' : 'inside');
  return seen;
}

const stream = concat(
  request({ type: COMMAND.READ, cookie: 1, offset: 2 ** 33, length: 70_000 }),
  request({ type: COMMAND.WRITE, cookie: 2, offset: 5 }, Uint8Array.of(9, 8, 7)),
  request({ type: COMMAND.WRITE, cookie: 3, length: 0 }),
  request({ type: COMMAND.WRITE_ZEROES, cookie: 4, length: 0xffffffff }),
  request({ type: 77, cookie: 5, length: 3 }),
  request({ type: COMMAND.DISC }),
);
const expected = [
  'type 0 cookie 1 at 8589934592 length 70000',
  'type 1 cookie 2 at 5 length 3',
  'payload 9',
  'payload 8',
  'payload 7',
  'type 1 cookie 3 at 0 length 0',
  'type 6 cookie 4 at 0 length 4294967295',
  'type 77 cookie 5 at 0 length 3',
  'type 2 cookie 0 at 0 length 0',
  'boundary',
];

describe('the framer', () => {
  it('sees the same requests at every split', () => {
    for (let cut = 0; cut <= stream.length; cut += 1) {
      expect(framed([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(expected);
    }
    expect(framed([...stream].map((byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  it('is at a boundary between requests only', () => {
    for (let end = 1; end < 28; end += 1) {
      expect(framed([stream.subarray(0, end)]).at(-1)).toBe('inside');
    }
    expect(framed([stream.subarray(0, 28)]).at(-1)).toBe('boundary');
    expect(framed([stream.subarray(0, 58)]).at(-1)).toBe('inside');
  });

  it('is dead after a wrong magic, and stays so', () => {
    const wrong = stream.slice();
    wrong[28] = 0;
    expect(framed([wrong])).toEqual([expected[0], 'dead']);
    const framer = new RequestFramer();
    framer.feed(new Uint8Array(28), 0, 28);
    expect(framer.state).toBe(FRAME.DEAD);
    expect(() => framer.feed(stream, 0, 28)).toThrow('out of turn');
    expect(() => framer.accept()).toThrow('without a request');
  });
});

describe('flags of commands', () => {
  // F FUA, N NO_HOLE, D DF, 1 REQ_ONE, Z FAST_ZERO, P PAYLOAD_LEN
  it.each([
    ['READ', 'F', 'FD', 'FD'],
    ['WRITE', 'F', 'F', 'FP'],
    ['FLUSH', 'F', 'F', 'F'],
    ['TRIM', 'F', 'F', 'F'],
    ['CACHE', 'F', 'F', 'F'],
    ['WRITE_ZEROES', 'FNZ', 'FNZ', 'FNZ'],
    ['BLOCK_STATUS', 'F1', 'F1', 'F1P'],
  ] as const)('of %s are %s simple, %s structured, %s extended', (name, ...expected) => {
    const letters = (bits: number): string =>
      ['F', 'N', 'D', '1', 'Z', 'P'].filter((_, bit) => (bits & (1 << bit)) !== 0).join('');
    const styles = [REPLY_STYLE.SIMPLE, REPLY_STYLE.STRUCTURED, REPLY_STYLE.EXTENDED];
    expect(styles.map((style) => letters(flagsOf(COMMAND[name], style)))).toEqual(expected);
  });

  it.each([8, 9, 0xffff])('are none for command %d', (type) => {
    expect(flagsOf(type, REPLY_STYLE.EXTENDED)).toBe(-1);
  });
});
