import { ERRNO } from '../../../core/base/errno.ts';
import { nbdErrorOf } from '../../../core/nbd/errno.ts';
import { COMMAND, COMMAND_FLAG, nameIn, NBD_ERROR } from '../../../core/nbd/proto.ts';

const nameOf = (errno: number, type: number, flags = 0): string =>
  nameIn(NBD_ERROR, nbdErrorOf(errno, type, flags));

describe('the wire code of an errno', () => {
  it.each([
    ['OK', 'OK'],
    ['EPERM', 'EPERM'],
    ['EACCES', 'EPERM'],
    ['EROFS', 'EPERM'],
    ['EIO', 'EIO'],
    ['ENXIO', 'EIO'],
    ['ENODATA', 'EIO'],
    ['ETIMEDOUT', 'EIO'],
    ['ENOMEM', 'ENOMEM'],
    ['EINVAL', 'EINVAL'],
    ['ENOSPC', 'ENOSPC'],
    ['EDQUOT', 'ENOSPC'],
    ['EFBIG', 'ENOSPC'],
    ['ESHUTDOWN', 'ESHUTDOWN'],
  ] as const)('%s is %s', (errno, expected) => {
    expect(nameOf(ERRNO[errno], COMMAND.WRITE)).toBe(expected);
  });

  it('is one the protocol has, whatever the errno, command and flags', () => {
    const seen = new Set<number>();
    for (let errno = 0; errno < 200; errno += 1) {
      for (let type = 0; type <= 9; type += 1) {
        for (let flags = 0; flags < 64; flags += 1) seen.add(nbdErrorOf(errno, type, flags));
      }
    }
    expect([...seen].sort((a, b) => a - b)).toEqual(Object.values(NBD_ERROR));
  });

  it('is ENOTSUP only where FAST_ZERO was asked for', () => {
    const { WRITE_ZEROES, TRIM, WRITE } = COMMAND;
    expect(nameOf(ERRNO.EOPNOTSUPP, WRITE_ZEROES, COMMAND_FLAG.FAST_ZERO)).toBe('ENOTSUP');
    expect(nameOf(ERRNO.EOPNOTSUPP, WRITE_ZEROES)).toBe('EINVAL');
    expect(nameOf(ERRNO.EOPNOTSUPP, TRIM, COMMAND_FLAG.FAST_ZERO)).toBe('EINVAL');
    expect(nameOf(ERRNO.EOPNOTSUPP, WRITE)).toBe('EINVAL');
  });

  it('is EOVERFLOW only where DF was asked for', () => {
    expect(nameOf(ERRNO.EOVERFLOW, COMMAND.READ, COMMAND_FLAG.DF)).toBe('EOVERFLOW');
    expect(nameOf(ERRNO.EOVERFLOW, COMMAND.READ)).toBe('EINVAL');
  });
});
