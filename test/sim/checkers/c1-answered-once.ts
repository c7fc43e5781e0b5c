import { fail, type Checker } from './checker.ts';

/** Held by who reads the replies (clients/replies.ts), at each; and here when nothing is under way. */
export const answeredOnce: Checker = {
  name: 'C1',
  sentence:
    'every request on a connection that lives is answered exactly once, by its own cookie, in the form agreed, with the bytes it asked for',
  idle(world) {
    for (const link of world.front?.links ?? []) {
      const [one] = link.unanswered;
      if (one !== undefined) fail(answeredOnce, `${link.name}: ${one} is never answered`);
    }
  },
};

export function badAnswer(link: string, message: string): never {
  fail(answeredOnce, `${link}: ${message}`);
}
