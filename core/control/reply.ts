import { ControlError, ERROR_EXIT, isErrorCode } from './error.ts';

/**
 * The daemon's side of the conversation, JSON lines as well. Written without zod: the command line
 * reads replies, and zod alone costs it 50 ms a start.
 */
export type Reply =
  | { readonly id: number; readonly result: unknown }
  /** Id null: the line that failed was not even a request. */
  | { readonly id: number | null; readonly error: ReplyError }
  /** Something happened: one of a stream that goes on until the reply with the same id. */
  | { readonly id: number; readonly event: unknown };

export interface ReplyError {
  readonly code: string;
  readonly exit: number;
  readonly message: string;
}

/** A line from the daemon, read; undefined when it is no reply. */
export function parseReply(line: string): Reply | undefined {
  const value = parseJson(line);
  if (!isRecord(value)) return undefined;
  const id = value['id'];
  if (typeof id === 'number' && 'result' in value) return { id, result: value['result'] };
  if (typeof id === 'number' && 'event' in value) return { id, event: value['event'] };
  if (typeof id !== 'number' && id !== null) return undefined;
  const error = value['error'];
  if (!isRecord(error)) return undefined;
  const { code, exit, message } = error;
  if (typeof code !== 'string' || typeof exit !== 'number' || typeof message !== 'string') {
    return undefined;
  }
  return { id, error: { code, exit, message } };
}

/** The error of a reply, thrown again on this side. A newer daemon's unknown code becomes `internal`. */
export function errorOfReply(error: ReplyError): ControlError {
  const code = isErrorCode(error.code) ? error.code : 'internal';
  return new ControlError(code, error.message);
}

export function replyErrorOf(error: ControlError): ReplyError {
  return { code: error.code, exit: ERROR_EXIT[error.code], message: error.message };
}

export function encodeLine(message: unknown): string {
  return `${JSON.stringify(message)}\n`;
}

/** Undefined for text that is no JSON (JSON itself has no undefined). */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
