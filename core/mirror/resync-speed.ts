/** How fast something goes lately: samples of a counter over the last few seconds. */
const SAMPLES = 16;
const SPACING_MS = 500;

export class RecentSpeed {
  private readonly atMs = new Float64Array(SAMPLES);
  private readonly bytes = new Float64Array(SAMPLES);
  /** Samples taken; the newest is at (count - 1) % SAMPLES. */
  private count = 0;

  begin(nowMs: number, doneBytes: number): void {
    this.count = 0;
    this.push(nowMs, doneBytes);
  }

  /** The counter stands at `doneBytes`. */
  note(nowMs: number, doneBytes: number): void {
    const newest = (this.count - 1) % SAMPLES;
    if (this.count === 0 || nowMs - this.atMs[newest]! >= SPACING_MS) this.push(nowMs, doneBytes);
  }

  /** Since the oldest sample, some eight seconds ago at most; null: nothing has been done yet. */
  bytesPerSecond(nowMs: number, doneBytes: number): number | null {
    if (this.count < 2) return null;
    const oldest = this.count <= SAMPLES ? 0 : this.count % SAMPLES;
    const seconds = (nowMs - this.atMs[oldest]!) / 1000;
    return seconds > 0 ? Math.round((doneBytes - this.bytes[oldest]!) / seconds) : null;
  }

  private push(nowMs: number, doneBytes: number): void {
    const place = this.count % SAMPLES;
    this.atMs[place] = nowMs;
    this.bytes[place] = doneBytes;
    this.count += 1;
  }
}
