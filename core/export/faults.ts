import { ERRNO, errnoName } from '../base/errno.ts';
import { encodeUtf8 } from '../nbd/utf8.ts';

/** Why a request is refused before any I/O, by number; FAULTS has the errno and the sentence. */
export const FAULT = {
  NONE: 0,
  SHUTTING_DOWN: 1,
  UNKNOWN_COMMAND: 2,
  UNKNOWN_FLAG: 3,
  WRONG_FLAG: 4,
  READ_ONLY: 5,
  TOO_LONG: 6,
  WRITE_PAST_END: 7,
  READ_PAST_END: 8,
  NO_CONTEXT: 9,
  NO_RANGE: 10,
  NO_PAYLOAD: 11,
  BAD_CONTEXTS: 12,
  NOT_FAST: 13,
} as const;
export type Fault = (typeof FAULT)[keyof typeof FAULT];

interface FaultMeaning {
  readonly errno: number;
  readonly sentence: string;
}

/** Indexed by Fault. "Error values" says which errno each mistake should have. */
export const FAULTS: Readonly<Record<Fault, FaultMeaning>> = {
  [FAULT.NONE]: { errno: ERRNO.OK, sentence: 'nothing is wrong' },
  [FAULT.SHUTTING_DOWN]: { errno: ERRNO.ESHUTDOWN, sentence: 'the export is shutting down' },
  [FAULT.UNKNOWN_COMMAND]: { errno: ERRNO.EINVAL, sentence: 'the command is not offered' },
  [FAULT.UNKNOWN_FLAG]: { errno: ERRNO.EINVAL, sentence: 'the command has an unknown flag' },
  [FAULT.WRONG_FLAG]: { errno: ERRNO.EINVAL, sentence: 'the flag does not go with the command' },
  [FAULT.READ_ONLY]: { errno: ERRNO.EPERM, sentence: 'the export is read-only' },
  [FAULT.TOO_LONG]: { errno: ERRNO.EINVAL, sentence: 'more than 32 MiB of data in one request' },
  [FAULT.WRITE_PAST_END]: { errno: ERRNO.ENOSPC, sentence: 'the range ends past the end' },
  [FAULT.READ_PAST_END]: { errno: ERRNO.EINVAL, sentence: 'the range ends past the end' },
  [FAULT.NO_CONTEXT]: { errno: ERRNO.EINVAL, sentence: 'no metadata context was selected' },
  [FAULT.NO_RANGE]: { errno: ERRNO.EINVAL, sentence: 'a range of no bytes has no status' },
  [FAULT.NO_PAYLOAD]: { errno: ERRNO.EINVAL, sentence: 'a WRITE without its payload flag' },
  [FAULT.BAD_CONTEXTS]: {
    errno: ERRNO.EINVAL,
    sentence: 'the payload names no selected contexts, or one twice',
  },
  [FAULT.NOT_FAST]: { errno: ERRNO.EOPNOTSUPP, sentence: 'zeroing is no faster than writing here' },
};

/** What went wrong at the device, for people. */
const SENTENCES: Readonly<Record<number, string>> = {
  [ERRNO.EIO]: 'input/output error: no copy could do it',
  [ERRNO.ENXIO]: 'input/output error: the device has become shorter',
  [ERRNO.ENOSPC]: 'no space left on the device',
  [ERRNO.EDQUOT]: 'no space left: the disk quota is used up',
  [ERRNO.ENOMEM]: 'more memory is needed than the server may use',
  [ERRNO.EROFS]: 'the device is read-only',
  [ERRNO.EPERM]: 'the device may not be written',
  [ERRNO.ESHUTDOWN]: 'the export is shutting down',
};

/** Texts as they leave, made once. */
const FAULT_TEXTS = textsOf(FAULT, (fault) => FAULTS[fault as Fault].sentence);
const ERRNO_TEXTS = textsOf(
  ERRNO,
  (errno) => SENTENCES[errno] ?? `the device said ${errnoName(errno)}`,
);
const NO_TEXT = new Uint8Array(0);

/** The text of an error chunk: why it was refused, else what happened at the device. */
export function errorText(fault: Fault, errno: number): Uint8Array {
  return (fault === FAULT.NONE ? ERRNO_TEXTS[errno] : FAULT_TEXTS[fault]) ?? NO_TEXT;
}

type Texts = Readonly<Record<number, Uint8Array>>;

function textsOf(table: Readonly<Record<string, number>>, sentence: (n: number) => string): Texts {
  const texts: Record<number, Uint8Array> = {};
  for (const n of Object.values(table)) texts[n] = encodeUtf8(sentence(n)) ?? NO_TEXT;
  return texts;
}
