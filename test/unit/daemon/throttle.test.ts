import { Throttle } from '../../../daemon/uring/throttle.ts';

/** A clock in the test's hands. */
function throttle(): { readonly it: Throttle; pass(us: number): void } {
  let now = 0;
  return {
    it: new Throttle(() => now),
    pass: (us) => {
      now += us;
    },
  };
}

it('writes that only work are never put off, however many they are', () => {
  const { it, pass } = throttle();
  for (let batch = 0; batch < 100; batch += 1) {
    for (let i = 0; i < 32; i += 1) {
      expect(it.mayWrite()).toBe(true);
      pass(250);
    }
    it.judge();
  }
});

it('writes that wait twice within a tenth of a second are put off for a while', () => {
  const { it, pass } = throttle();
  for (const _ of [1, 2]) {
    expect(it.mayWrite()).toBe(true);
    pass(10_000);
    it.judge();
  }
  expect(it.mayWrite()).toBe(false);
  pass(49_000);
  expect(it.mayWrite()).toBe(false);
  pass(2000);
  expect(it.mayWrite()).toBe(true);
});

it('one wait is chance', () => {
  const { it, pass } = throttle();
  for (let i = 0; i < 5; i += 1) {
    expect(it.mayWrite()).toBe(true);
    pass(10_000);
    it.judge();
    pass(200_000);
  }
});
