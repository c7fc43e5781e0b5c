/** A broken promise inside the program: never an input error, never an I/O error. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/**
 * States what must hold. Stays on in production. The text is constant, so that a check that holds
 * costs a comparison and nothing else; a value that helps belongs in a second check after the first.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** The end of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new AssertionError(`impossible value ${String(value)}`);
}
