import type { ExportDirectory } from '../nbd/directory.ts';
import { ExportError } from './export.ts';
import type { Offer } from './offer.ts';

/** The exports of a server, by name. They come and go at run time. */
export class ExportTable implements ExportDirectory<Offer> {
  private readonly byName = new Map<string, Offer>();
  private shutdown: Promise<void> | undefined;

  get isShuttingDown(): boolean {
    return this.shutdown !== undefined;
  }

  /** @throws ExportError when the name is taken */
  add(added: Offer): void {
    if (this.byName.has(added.name)) {
      throw new ExportError(`there is already an export named "${added.name}"`);
    }
    this.byName.set(added.name, added);
  }

  /** New clients no longer find it; those connected stay. False: there was none. */
  remove(name: string): boolean {
    return this.byName.delete(name);
  }

  /** The empty name is the only export there is, if there is exactly one. */
  find(name: string): Offer | undefined {
    if (name !== '') return this.byName.get(name);
    return this.byName.size === 1 ? this.list()[0] : undefined;
  }

  list(): readonly Offer[] {
    return [...this.byName.values()];
  }

  /** Shuts every export down; fulfilled when all are idle. */
  beginShutdown(): Promise<void> {
    this.shutdown ??= Promise.all(this.list().map((one) => one.beginShutdown())).then(
      () => undefined,
    );
    return this.shutdown;
  }
}
