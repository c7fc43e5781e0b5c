import { Prng } from '../../core/base/prng.ts';
import { at } from './at.ts';

/**
 * What an action may do besides letting time pass, in the order in which it is decided. The letter
 * names it in a list of steps: `12c` is the call of action 12.
 */
const EFFECTS = {
  fault: 'f',
  crash: 'k',
  operate: 'o',
  legs: 'l',
  rest: 'r',
  scrub: 's',
  suspend: 'u',
  network: 'n',
  stall: 't',
  wire: 'w',
  cut: 'x',
  call: 'c',
} as const;
export type Effect = keyof typeof EFFECTS;
export const EFFECT_NAMES = Object.keys(EFFECTS) as readonly Effect[];

/** Something that was done, and what every generator was about to draw for it. */
export interface Step {
  readonly name: string;
  readonly effect: Effect;
  readonly generators: readonly Prng[];
}

interface Action {
  readonly steps: readonly Step[];
  /** Events that happened after it. */
  readonly events: number;
}

/**
 * What a seed did, decision by decision, so that it can be played again without some of it. A step
 * that is left out draws nothing: each of the others finds its generators as they were.
 */
export class Script {
  readonly actions: Action[] = [];
  private steps: Step[] = [];

  note(action: number, effect: Effect, generators: readonly Prng[]): void {
    const name = `${action}${EFFECTS[effect]}`;
    this.steps.push({ name, effect, generators: generators.map(copyOf) });
  }

  endAction(events: number): void {
    this.actions.push({ steps: this.steps, events });
    this.steps = [];
  }

  /** The action that failed has no end. */
  close(): void {
    if (this.steps.length > 0) this.endAction(0);
  }

  get names(): readonly string[] {
    return this.actions.flatMap(({ steps }) => steps.map(({ name }) => name));
  }

  /** The same with these steps only; time passes as it did. */
  only(names: ReadonlySet<string>): Script {
    const script = new Script();
    for (const { steps, events } of this.actions) {
      script.steps = steps.filter(({ name }) => names.has(name));
      script.endAction(events);
    }
    return script;
  }
}

function copyOf(prng: Prng): Prng {
  return Object.assign(new Prng(0), prng);
}

/** The generators go on from where they were at that step. */
export function restore(generators: readonly Prng[], from: readonly Prng[]): void {
  for (const [i, prng] of generators.entries()) Object.assign(prng, at(from, i));
}
