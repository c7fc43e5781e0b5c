/** The control thread's end of a thread for TLS: it starts when it is first needed, and anew when it has died. */
import { Worker } from 'node:worker_threads';

export interface TlsThreadOwner<To, From> {
  /** What a new thread is told before all else. */
  greeting(): readonly To[];
  heard(message: From): void;
  /** All it was at work on is lost; the next `ask` starts another. */
  died(why: string): void;
}

export class TlsThread<To, From> {
  private readonly entry: URL;
  private readonly owner: TlsThreadOwner<To, From>;
  private worker: Worker | undefined;

  constructor(entry: URL, owner: TlsThreadOwner<To, From>) {
    this.entry = entry;
    this.owner = owner;
  }

  /** Starts the thread where there is none. */
  ask(message: To): void {
    this.worker ??= this.begin();
    this.worker.postMessage(message);
  }

  /** Of no interest to a thread that is not there. */
  tell(message: To): void {
    this.worker?.postMessage(message);
  }

  async terminate(): Promise<void> {
    await this.worker?.terminate();
  }

  private begin(): Worker {
    const worker = new Worker(this.entry);
    worker.on('message', (message: From) => this.owner.heard(message));
    worker.on('error', (error: Error) => this.ended(worker, error.message));
    worker.on('exit', () => this.ended(worker, 'the TLS thread has ended'));
    // Behind `on`, which would take it back.
    worker.unref();
    for (const message of this.owner.greeting()) worker.postMessage(message);
    return worker;
  }

  /** An error is followed by the exit, when there may be another thread already. */
  private ended(worker: Worker, why: string): void {
    if (this.worker !== worker) return;
    this.worker = undefined;
    this.owner.died(why);
  }
}
