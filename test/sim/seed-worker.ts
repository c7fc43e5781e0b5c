// A process that plays the seeds its parent names, so that one that dies or hangs takes no other with it.
import { isMainThread } from 'node:worker_threads';
import { playChunk, type Chunk, type ChunkDone } from './jobs.ts';

if (!isMainThread || process.send === undefined) throw new Error('to be started by jobs.ts');

// Of the terminal, to the whole group: the parent decides, and waits for what is being played.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit());
process.on('message', (chunk: Chunk) => {
  const done: ChunkDone = { played: playChunk(chunk), rss: process.memoryUsage.rss() };
  process.send?.(done);
});
