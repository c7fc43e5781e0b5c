/** Exit codes of `dmio` (and `dmiod`), CONTRACT section 4. */
export const EXIT = {
  DONE: 0,
  /** It was tried and did not work. */
  FAILED: 1,
  /** The command line is wrong in itself, whatever the machine holds. */
  USAGE: 2,
  /** No daemon answers on the control socket. */
  UNREACHABLE: 3,
  /** No such device or leg. */
  NOT_FOUND: 4,
  /** Busy, or data would be lost; the message names the `--force` that would do it, if any. */
  REFUSED: 5,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Stable codes for scripts; each has one exit code. */
export const ERROR_EXIT = {
  /** An argument that can never be right: a name with a slash, a size that is no multiple of 512. */
  'bad-argument': EXIT.USAGE,
  /** A table line that cannot be. */
  'bad-table': EXIT.FAILED,
  /** A leg that is no leg: a directory, too small, the same one twice. */
  'bad-leg': EXIT.FAILED,
  'bad-config': EXIT.FAILED,
  /** A line on the control socket that is no request. */
  'bad-request': EXIT.FAILED,
  /** It could be, but this version does not do it. */
  unsupported: EXIT.FAILED,
  io: EXIT.FAILED,
  /** An address that another process listens on: a port, the control socket of a live daemon. */
  'address-in-use': EXIT.FAILED,
  timeout: EXIT.FAILED,
  /** A defect of ours; the daemon's log has more. */
  internal: EXIT.FAILED,
  unreachable: EXIT.UNREACHABLE,
  'no-device': EXIT.NOT_FOUND,
  'no-leg': EXIT.NOT_FOUND,
  exists: EXIT.REFUSED,
  busy: EXIT.REFUSED,
  'would-lose-data': EXIT.REFUSED,
} as const satisfies Readonly<Record<string, ExitCode>>;

export type ErrorCode = keyof typeof ERROR_EXIT;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_EXIT, code);
}

/** The one error of the control path: a sentence for people, a code for scripts. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
  readonly code: ErrorCode;

  /** `message`: one line; what, where, what is allowed. */
  constructor(code: ErrorCode, message: string) {
    super(oneLine(message));
    this.code = code;
  }

  get exit(): ExitCode {
    return ERROR_EXIT[this.code];
  }
}

/** Names and paths come from outside: no message may break into a second line or drive a terminal. */
export function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return `\\u${code.toString(16).padStart(4, '0')}`;
  });
}
