/** What a checker found. Its name is that of the invariant. */
export class SimFailure extends Error {
  override readonly name = 'SimFailure';
  readonly checker: string;

  constructor(checker: string, message: string) {
    super(`${checker}: ${message}`);
    this.checker = checker;
  }
}
