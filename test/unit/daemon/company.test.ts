import type { ReplyQueue } from '../../../core/export/reply-queue.ts';
import { Company } from '../../../daemon/uring/company.ts';

const replies = (length: number, payload = 4096): ReplyQueue =>
  ({ length, payloadBytes: () => payload }) as unknown as ReplyQueue;

it('sends the one reply of a client that waits for it', () => {
  const it = new Company();
  for (let i = 0; i < 3; i += 1) {
    it.came();
    expect(it.isAwaited(replies(1))).toBe(false);
    it.left(1);
  }
});

it('waits while requests come in, until there are enough', () => {
  const it = new Company();
  it.came();
  expect(it.isAwaited(replies(2))).toBe(true);
  it.came();
  expect(it.isAwaited(replies(7))).toBe(true);
  it.came();
  expect(it.isAwaited(replies(8))).toBe(false);
});

it('never waits a second turn for nothing', () => {
  const it = new Company();
  it.came();
  expect(it.isAwaited(replies(3))).toBe(true);
  expect(it.isAwaited(replies(3))).toBe(false);
});

it('waits with one reply when there were several before', () => {
  const it = new Company();
  it.left(5);
  it.came();
  expect(it.isAwaited(replies(1))).toBe(true);
});

it('sends long replies at once', () => {
  const it = new Company();
  it.came();
  expect(it.isAwaited(replies(2, 131072))).toBe(false);
});
