/** Something that no stream of bytes may bring about. */
class Finding extends Error {
  override readonly name = 'Finding';
}

export function expectThat(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Finding(otherwise);
}

/** How often a story came by which place: a fuzzer that never gets anywhere finds nothing either. */
export class Tally {
  /** Bytes given to the end under test. */
  bytes = 0;
  /** Connections. */
  streams = 0;
  readonly places = new Map<string, number>();

  count(place: string): void {
    this.places.set(place, (this.places.get(place) ?? 0) + 1);
  }
}
