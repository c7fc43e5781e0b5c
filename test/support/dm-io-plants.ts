// Bugs, planted into a client one at a time, to see that the model of dm-io-model.ts catches each: a
// checker that never complains looks like a program without bugs.
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import { DmIoMemory } from '../../core/dm-io/memory.ts';
import type { IoRegion } from '../../core/dm-io/region.ts';
import type { DmIoRequest } from '../../core/dm-io/request.ts';
import type { MakeClient } from './dm-io-batch.ts';

type EndedBio = Parameters<DmIoClient['bioEnded']>[0];

/** The real client's inside, for bugs that cannot be planted from outside. */
interface Inside {
  dispatchFlush(request: DmIoRequest, region: IoRegion): boolean;
  dispatchRegion(request: DmIoRequest, region: IoRegion): boolean;
}

interface Plant {
  /** Once for each client. */
  readonly patching?: (client: Inside) => void;
  /** At the start of each request. */
  readonly submitting?: (request: DmIoRequest) => void;
  /** After it was handed to the real client. */
  readonly submitted?: (request: DmIoRequest) => void;
  /** Before the real client hears of an end; what it returns runs after. */
  readonly ending?: (bio: EndedBio, request: DmIoRequest) => (() => void) | undefined;
  /** What the model says about it. */
  readonly complaint: RegExp;
}

class PlantedClient extends DmIoClient {
  readonly plant: Plant;

  constructor(plant: Plant, ...rest: ConstructorParameters<typeof DmIoClient>) {
    super(...rest);
    this.plant = plant;
    plant.patching?.(this as unknown as Inside);
  }

  override submit(request: DmIoRequest): void {
    this.plant.submitting?.(request);
    super.submit(request);
    this.plant.submitted?.(request);
  }

  override bioEnded(bio: EndedBio): void {
    const after = this.plant.ending?.(bio, bio.request as DmIoRequest);
    super.bioEnded(bio);
    after?.();
  }
}

export function planted(plant: Plant): MakeClient {
  return (loop, reserve, limit) => new PlantedClient(plant, loop, reserve, limit);
}

export const PLANTS: Readonly<Record<string, Plant>> = {
  'smears a bit onto the next region': {
    ending(bio, request) {
      if (bio.error !== 0) request.errorBits.set((bio.tag + 1) % 64);
      return undefined;
    },
    complaint: /bits \d+, expected \d+ \(R6\)/,
  },
  'loses region 63': {
    ending(bio) {
      if (bio.tag === 63) bio.error = 0;
      return undefined;
    },
    complaint: /region 63 errno 0, expected/,
  },
  'folds regions above 31 onto the lower word': {
    ending(bio, request) {
      if (bio.tag < 32 || bio.error === 0) return undefined;
      request.errorBits.set(bio.tag - 32);
      bio.error = 0;
      return undefined;
    },
    complaint: /errno 0, expected/,
  },
  'loses the second failure of a request': {
    ending(bio, request) {
      if (!request.errorBits.isEmpty && !request.errorBits.test(bio.tag)) bio.error = 0;
      return undefined;
    },
    complaint: /errno 0, expected/,
  },
  'forgets the errno': {
    ending(bio) {
      if (bio.error !== 0) bio.error = 99;
      return undefined;
    },
    complaint: /errno 99, expected/,
  },
  'tells the owner twice': {
    submitting(request) {
      const owner = request.owner;
      request.owner = {
        dmIoDone(ended): void {
          request.owner = owner;
          owner.dmIoDone(ended);
          owner.dmIoDone(ended);
        },
      };
    },
    complaint: /told 2 times/,
  },
  'tells the owner before the last bio': {
    submitted(request) {
      if (request.references > 2 && !request.flushing) request.references -= 1;
    },
    complaint: /told before .* had ended/,
  },
  'tells the owner inside the call': {
    submitted(request) {
      if (request.references > 0 || !request.inFlight) return;
      request.complete();
      request.complete = () => Reflect.deleteProperty(request, 'complete');
    },
    complaint: /told from inside the call/,
  },
  'leaves a failed read as it is': {
    ending(bio) {
      if (bio.op !== REQ_OP.READ || bio.error === 0) return undefined;
      const { page, offset, length } = bio.vecs[0] as (typeof bio.vecs)[0];
      const left = page.slice(offset, offset + length);
      return () => page.set(left, offset);
    },
    complaint: /memory of .* differs/,
  },
  'zeroes the next sector too': {
    ending(bio) {
      const vec = bio.vecs[0];
      if (bio.op !== REQ_OP.READ || bio.error === 0 || vec === undefined) return undefined;
      return () => vec.page.fill(0, vec.offset, vec.offset + vec.length + 512);
    },
    complaint: /memory of .* differs/,
  },
  'scribbles on memory that is written': {
    ending(bio) {
      const vec = bio.vecs[0];
      if (bio.op === REQ_OP.WRITE && vec !== undefined) vec.page[vec.offset] = 0xaa;
      return undefined;
    },
    complaint: /differs/,
  },
  'drops the last region': {
    submitting(request) {
      const last = request.regions[request.regionCount - 1];
      if (last !== undefined && request.regionCount > 3) last.count = 0;
    },
    complaint: /region \d+ (?:ends at|errno)/,
  },
  'does not rewind between regions': {
    submitting({ regions, regionCount }) {
      const [first, second] = regions;
      if (regionCount < 2 || first === undefined || second === undefined) return;
      if (first.count > second.count && second.memorySector === 0) second.memorySector = 1;
    },
    complaint: /disk\d+ differs at sector/,
  },
  'writes one sector further': {
    submitting({ op, regions, regionCount }) {
      const region = regions[0];
      if (op === REQ_OP.WRITE && regionCount > 0 && region !== undefined) region.sector += 8;
    },
    complaint: /region 0 (?:goes on at|errno)|bits/,
  },
  'forgets PREFLUSH': {
    submitting(request) {
      request.flags &= ~REQ_FLAG.PREFLUSH;
    },
    complaint: /got 0 flushes|errno 0/,
  },
  'sends data before the flush has ended': {
    patching(client) {
      const real = client.dispatchFlush.bind(client);
      client.dispatchFlush = (request, region): boolean => {
        const sent = real(request, region);
        if (!sent || request.op === REQ_OP.FLUSH) return sent;
        client.dispatchRegion(request, region);
        region.count = 0;
        return true;
      };
    },
    complaint: /data sent before the last flush/,
  },
  'flushes the first region only': {
    patching(client) {
      const real = client.dispatchFlush.bind(client);
      client.dispatchFlush = (request, region): boolean => {
        return request.dispatchIndex > 0 || real(request, region);
      };
    },
    complaint: /region \d+ got 0 flushes/,
  },
  'forgets a request that waits for bios': {
    patching(client) {
      const real = client.dispatchRegion.bind(client);
      client.dispatchRegion = (request, region): boolean => real(request, region) || true;
    },
    complaint: /region \d+ ends at/,
  },
  'writes to a region whose flush has failed': {
    patching(client) {
      const real = client.dispatchRegion.bind(client);
      client.dispatchRegion = (request, region): boolean => {
        const { errorBits, dispatchIndex } = request;
        if (request.dispatchDone === 0 && errorBits.test(dispatchIndex)) errorBits.clear();
        return real(request, region);
      };
    },
    complaint: /region \d+ ends at|bits/,
  },
  'forgets FUA': {
    submitting(request) {
      request.flags &= ~REQ_FLAG.FUA;
    },
    complaint: /a bio with flags/,
  },
  'forgets SYNC': {
    submitting(request) {
      request.flags &= ~REQ_FLAG.SYNC;
    },
    complaint: /a bio with flags|a bio of nobody|ends at/,
  },
  'cuts into single sectors': {
    submitting({ memory }) {
      memory.fill = (bio, most, segments, block): number => {
        return DmIoMemory.prototype.fill.call(memory, bio, block === 1 ? 1 : most, segments, block);
      };
    },
    complaint: /would do \(R20\)/,
  },
  'goes over the segments of a device': {
    submitting({ memory }) {
      memory.fill = (bio, most, _segments, block): number => {
        return DmIoMemory.prototype.fill.call(memory, bio, most, 256, block);
      };
    },
    complaint: /over maxSegments/,
  },
};
