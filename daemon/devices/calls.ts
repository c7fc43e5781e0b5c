/**
 * What the control plane asks of a device where it lives: in this thread, or in one of its own.
 * Arguments and answers are plain data, for they may cross threads. A handler answers once, at once
 * or later, with callbacks: a data-plane thread never returns to Node's loop, so promises end nowhere.
 */
import { ControlError } from '../../core/control/error.ts';
import type { Assembled } from './assemble.ts';
import { LEG_HANDLERS, type LegCalls } from './leg-calls.ts';
import { snapshotOf, type DeviceSnapshot } from './runner.ts';

/** Every call: its arguments and its answer. */
interface DeviceCalls extends LegCalls {
  snapshot: { readonly args: null; readonly value: DeviceSnapshot };
}

export type CallName = keyof DeviceCalls;
export type CallArgs<C extends CallName> = DeviceCalls[C]['args'];
export type CallValue<C extends CallName> = DeviceCalls[C]['value'];

export interface Answer<V> {
  done(value: V): void;
  refuse(error: ControlError): void;
}

type Handlers = {
  /** May also throw a ControlError: the same as `refuse`. */
  readonly [C in CallName]: (
    parts: Assembled,
    args: CallArgs<C>,
    answer: Answer<CallValue<C>>,
  ) => void;
};

const HANDLERS: Handlers = {
  snapshot: ({ mapped, mirror }, _, answer) => {
    answer.done(snapshotOf(mapped, mirror));
  },
  ...LEG_HANDLERS,
};

/** Runs a call on a device that lives in this thread. */
export function callDevice<C extends CallName>(
  parts: Assembled,
  name: C,
  args: CallArgs<C>,
  answer: Answer<CallValue<C>>,
): void {
  try {
    HANDLERS[name](parts, args, answer);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    answer.refuse(error);
  }
}
