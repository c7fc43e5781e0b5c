import type { SimResult } from './run.ts';

/** A bug planted into core, from outside: core itself knows nothing of it. */
export interface Mutant {
  readonly bug: string;
  /** Puts the bug in. */
  readonly plant: () => void;
  /** The story that is to find it; the common one if it is not said. */
  readonly play?: (seed: number) => SimResult;
}

export type Method = (this: never, ...args: never[]) => unknown;
const undo: (() => void)[] = [];

/** Replaces `prototype[name]` by what `make` makes of it, until `uproot`. */
export function replace(prototype: object, name: string, make: (original: Method) => Method): void {
  const found = Object.getOwnPropertyDescriptor(prototype, name);
  if (found === undefined) throw new Error(`no ${name} to plant a bug in`);
  const isGetter = found.get !== undefined;
  const original = Reflect.get(found, isGetter ? 'get' : 'value') as Method;
  const changed = make(original);
  const next = isGetter ? { ...found, get: changed } : { ...found, value: changed };
  Object.defineProperty(prototype, name, next);
  undo.push(() => Object.defineProperty(prototype, name, found));
}

/** Takes all planted bugs out. */
export function uproot(): void {
  for (const back of undo.splice(0)) back();
}

export const nothing = (): Method => () => undefined;
export const always = (value: unknown) => (): Method => () => value;
