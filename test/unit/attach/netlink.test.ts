// The bytes of generic netlink, against linux/netlink.h, genetlink.h and nbd-netlink.h.
import { familyRequest, readAnswer, reconfigureRequest } from '../../../daemon/attach/netlink.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

it('asks for the number of a family', () => {
  expect(hex(familyRequest('nbd'))).toBe(
    // length 28, GENL_ID_CTRL, REQUEST|ACK, sequence 1, pid 0; GETFAMILY v1; FAMILY_NAME "nbd\\0"
    '1c000000' + '1000' + '0500' + '01000000' + '00000000' + '03010000' + '08000200' + '6e626400',
  );
});

it('reconfigures: index, time-outs, sockets in their nest; lengths are padded to 4', () => {
  const change = { index: 3, timeoutSeconds: 10, deadSeconds: 300, sockets: [20, 21] };
  expect(hex(reconfigureRequest(0x1d, change))).toBe(
    '50000000' +
      '1d00' +
      '0500' +
      '01000000' +
      '00000000' +
      '03010000' +
      '08000100' +
      '03000000' +
      '0c000400' +
      '0a00000000000000' +
      '0c000800' +
      '2c01000000000000' +
      // SOCKETS { ITEM { FD 20 } ITEM { FD 21 } }, nested
      '1c000780' +
      '0c000180' +
      '08000100' +
      '14000000' +
      '0c000180' +
      '08000100' +
      '15000000',
  );
  expect(hex(reconfigureRequest(1, { index: 0 }))).toBe(
    '1c000000' + '0100' + '0500' + '01000000' + '00000000' + '03010000' + '08000100' + '00000000',
  );
});

it('tells a new size, as a u64 behind the index', () => {
  expect(hex(reconfigureRequest(1, { index: 2, sizeBytes: 2 ** 33 }))).toBe(
    '28000000' +
      '0100' +
      '0500' +
      '01000000' +
      '00000000' +
      '03010000' +
      '08000100' +
      '02000000' +
      // SIZE_BYTES
      '0c000200' +
      '0000000002000000',
  );
});

it('reads an answer: the errno, the family, several messages in one datagram', () => {
  const error = (errno: number): string => {
    const code = Buffer.alloc(4);
    code.writeInt32LE(-errno);
    return `24000000020000000100000000000000${code.toString('hex')}${'00'.repeat(16)}`;
  };
  const family =
    '20000000' +
    '1000' +
    '0000' +
    '01000000' +
    '00000000' +
    '01020000' +
    '06000100' +
    '1d000000' +
    '04000300';
  expect(readAnswer(Buffer.from(error(22), 'hex'))).toEqual({ errno: 22, family: undefined });
  expect(readAnswer(Buffer.from(family + error(0), 'hex'))).toEqual({ errno: 0, family: 0x1d });
  expect(readAnswer(Buffer.from(family, 'hex'))).toEqual({ errno: undefined, family: 0x1d });
});

it('does not read beyond a message that is cut short or lies about its length', () => {
  for (const text of [
    '',
    '24',
    '00000000',
    'ff000000' + '0200' + '00'.repeat(20),
    '00'.repeat(64),
  ]) {
    expect(readAnswer(Buffer.from(text, 'hex'))).toEqual({ errno: undefined, family: undefined });
  }
});
