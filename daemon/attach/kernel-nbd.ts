/** The kernel's nbd client, spoken to by netlink: what nbd-client has no option for. */
import { ERRNO } from '../../core/base/errno.ts';
import { AF, processCalls, SOCK } from '../sys/process-calls.ts';
import { familyRequest, readAnswer, reconfigureRequest } from './netlink.ts';
import type { Answer, Reconfigure } from './netlink.ts';

const NETLINK_GENERIC = 16;
/** Far more than any answer to these requests. */
const ANSWER_BYTES = 64 * 1024;

/** Changes a connected /dev/nbdN; 0, or an errno (EPERM: no CAP_SYS_ADMIN; ENOENT: no module). */
export function reconfigure(change: Reconfigure): number {
  const { errno, family } = ask(familyRequest('nbd'));
  if (family === undefined) return errno === undefined || errno === 0 ? ERRNO.EIO : errno;
  return ask(reconfigureRequest(family, change)).errno ?? ERRNO.EIO;
}

/** Generic netlink is answered before sendto returns. */
function ask(message: Uint8Array): Answer {
  const calls = processCalls();
  if (typeof calls === 'string') return { errno: ERRNO.ENOSYS, family: undefined };
  const fd = calls.socket(AF.NETLINK, SOCK.RAW | SOCK.CLOEXEC, NETLINK_GENERIC);
  if (fd < 0) return { errno: -fd, family: undefined };
  try {
    const sent = calls.sendTo(fd, message, KERNEL);
    if (sent < 0) return { errno: -sent, family: undefined };
    return collect(fd, calls);
  } finally {
    calls.close(fd);
  }
}

/** A request that asks for data gets the data and the acknowledgement in two datagrams. */
function collect(fd: number, calls: Exclude<ReturnType<typeof processCalls>, string>): Answer {
  let errno: number | undefined;
  let family: number | undefined;
  const bytes = new Uint8Array(ANSWER_BYTES);
  while (errno === undefined) {
    const length = calls.receive(fd, bytes);
    if (length <= 0) break;
    const answer = readAnswer(bytes.subarray(0, length));
    errno = answer.errno;
    family = answer.family ?? family;
  }
  return { errno, family };
}

/** sockaddr_nl of the kernel: family, then zeros. */
const KERNEL = new Uint8Array(12);
KERNEL[0] = AF.NETLINK;
