import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import type { Bio } from '../../core/block/bio.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { FALLOC } from '../sys/syscalls.ts';

/** Zeros that give the space back. */
const PUNCH = FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE;
/** Zeros that keep the space. */
const ZERO_RANGE = FALLOC.ZERO_RANGE | FALLOC.KEEP_SIZE;
const ALLOCATE = FALLOC.ALLOCATE;

/** Steps of fallocate that all must succeed. */
type Recipe = readonly number[];

/** What to try for each kind of bio, best first. Each ends with a range that reads back as zeros. */
const RECIPES = {
  DISCARD: [[PUNCH]],
  UNMAP: [[PUNCH], [ZERO_RANGE]],
  /** tmpfs, for one, can punch but not zero: there the hole is filled again. */
  NOUNMAP: [[ZERO_RANGE], [PUNCH, ALLOCATE]],
} as const satisfies Readonly<Record<string, readonly Recipe[]>>;

/** A signal may interrupt fallocate any number of times; a bug must not become an endless loop. */
const INTERRUPTIONS_MAX = 100;

/** The modes a file has answered "not supported" to; asked once, remembered for all. */
export class MissingModes {
  private readonly modes = new Set<number>();

  add(mode: number): void {
    this.modes.add(mode);
  }

  /** Nothing works at all. */
  addAll(): void {
    this.modes.add(PUNCH).add(ZERO_RANGE).add(ALLOCATE);
  }

  allows(recipe: Recipe): boolean {
    return recipe.every((mode) => !this.modes.has(mode));
  }

  get canPunch(): boolean {
    return this.allows(RECIPES.DISCARD[0]);
  }

  get canZero(): boolean {
    return RECIPES.UNMAP.some((recipe) => this.allows(recipe));
  }
}

/** `ZeroPlan.next`: call fallocate again, with the plan's `mode`. */
export const ZERO_MORE = -1;

/**
 * The fallocate calls by which one bio's range becomes zeros. The caller makes the call with `mode`
 * and tells `next` how it went, so the blocking and the threaded way share the decisions.
 */
export class ZeroPlan {
  mode = 0;
  private recipes: readonly Recipe[] = [];
  private recipe: Recipe = [];
  private step = 0;
  private interruptions = 0;

  /** ZERO_MORE, or EOPNOTSUPP: the caller of the device writes zeros. */
  begin(bio: Bio, missing: MissingModes): number {
    this.interruptions = 0;
    this.recipes = recipesFor(bio);
    return this.choose(missing);
  }

  /** After a call of fallocate that gave `errno`: ZERO_MORE, or the errno of the whole. */
  next(errno: number, missing: MissingModes): number {
    assert(this.step < this.recipe.length, 'a zero plan that was over goes on');
    switch (errno) {
      case ERRNO.OK:
        this.step += 1;
        if (this.step === this.recipe.length) return ERRNO.OK;
        this.mode = this.recipe[this.step] ?? ALLOCATE;
        return ZERO_MORE;
      case ERRNO.EINTR:
      case ERRNO.EAGAIN:
        this.interruptions += 1;
        return this.interruptions <= INTERRUPTIONS_MAX ? ZERO_MORE : errno;
      case ERRNO.EOPNOTSUPP:
      case ERRNO.ENOSYS:
        missing.add(this.mode);
        return this.choose(missing);
      default:
        return errno;
    }
  }

  private choose(missing: MissingModes): number {
    const recipe = this.recipes.find((candidate) => missing.allows(candidate));
    const mode = recipe?.[0];
    if (recipe === undefined || mode === undefined) return ERRNO.EOPNOTSUPP;
    this.recipe = recipe;
    this.step = 0;
    this.mode = mode;
    return ZERO_MORE;
  }
}

/** For opening: does the file system punch at all? The caller asks past the end, where nothing is. */
export const PROBE_MODE = PUNCH;

function recipesFor(bio: Bio): readonly Recipe[] {
  if (bio.op === REQ_OP.DISCARD) return RECIPES.DISCARD;
  assert(bio.op === REQ_OP.WRITE_ZEROES, 'only DISCARD and WRITE_ZEROES make zeros');
  return (bio.flags & REQ_FLAG.NOUNMAP) === 0 ? RECIPES.UNMAP : RECIPES.NOUNMAP;
}
