/**
 * What the control plane asks of a device where it lives: in this thread, or in one of its own.
 * Arguments and answers are plain data, for they may cross threads. A handler answers once, at once
 * or later, with callbacks: a data-plane thread never returns to Node's loop, so promises end nowhere.
 */
import { ControlError } from '../../core/control/error.ts';
import type { Assembled } from './assemble.ts';
import { LEG_HANDLERS, type LegCalls } from './leg-calls.ts';
import { snapshotOf, type DeviceSnapshot } from './runner.ts';
import { orderResync, orderScrub, statsOf } from './upkeep.ts';
import type { DeviceStats, ResyncOrder, ScrubOrder, UpkeepAnswer } from './upkeep.ts';

/** Every call: its arguments and its answer. */
interface DeviceCalls extends LegCalls {
  /** `cells`: width of the region map; 0: none is wanted. */
  snapshot: { readonly args: { readonly cells: number } | null; readonly value: DeviceSnapshot };
  scrub: { readonly args: ScrubOrder; readonly value: UpkeepAnswer };
  resync: { readonly args: ResyncOrder; readonly value: UpkeepAnswer };
  stats: { readonly args: null; readonly value: DeviceStats };
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
  snapshot: ({ mapped, mirror }, args, answer) => {
    answer.done(snapshotOf(mapped, mirror, args?.cells ?? 0));
  },
  ...LEG_HANDLERS,
  scrub: ({ mapped, mirror }, order, answer) => {
    answer.done(orderScrub(mapped.name, mirror, order));
  },
  resync: ({ mapped, mirror }, order, answer) => {
    answer.done(orderResync(mapped.name, mirror, order));
  },
  stats: (parts, _, answer) => {
    answer.done(statsOf(parts));
  },
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
