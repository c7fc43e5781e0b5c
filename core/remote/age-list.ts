import { assert } from '../base/assert.ts';
import type { RemoteRequest } from './request.ts';

/** Requests in the order in which they came, wherever they are now. */
export class AgeList {
  oldest: RemoteRequest | null = null;
  length = 0;
  private youngest: RemoteRequest | null = null;

  push(request: RemoteRequest): void {
    request.older = this.youngest;
    request.younger = null;
    if (this.youngest === null) this.oldest = request;
    else this.youngest.younger = request;
    this.youngest = request;
    this.length += 1;
  }

  remove(request: RemoteRequest): void {
    assert(this.length > 0, 'age list: more removed than there were');
    if (request.older === null) this.oldest = request.younger;
    else request.older.younger = request.younger;
    if (request.younger === null) this.youngest = request.older;
    else request.younger.older = request.older;
    request.older = null;
    request.younger = null;
    this.length -= 1;
  }
}
