// Masks as COCO's run lengths, made and read without a mask of the whole photo.

import type { Box, RunLengths } from "../backend.js";
import { compress, decompress, type Raster } from "../rle.js";

/** Makes run lengths of columns that come from left to right. */
export class RunLengthEncoder {
  area = 0;
  private changes: number[] = []; // where a run of 1s starts, where it ends, and so on
  private box: Box = [Infinity, Infinity, -Infinity, -Infinity];

  constructor(private width: number, private height: number) {}

  /** Adds column x: 1s where values are above the threshold; the first value is that of row y0. */
  column(x: number, y0: number, values: ArrayLike<number>, threshold = 0): void {
    const { changes } = this;
    const top = x * this.height + y0;
    let start = -1;
    for (let y = 0; y <= values.length; y++) {
      const inside = y < values.length && values[y]! > threshold;
      if (inside === start >= 0) continue;
      if (inside) {
        start = y;
        continue;
      }
      if (changes.at(-1) === top + start) changes.pop(); // goes on from the bottom of the column before
      else changes.push(top + start);
      changes.push(top + y);
      this.area += y - start;
      this.box = [Math.min(this.box[0], x), Math.min(this.box[1], y0 + start), x + 1, Math.max(this.box[3], y0 + y)];
      start = -1;
    }
  }

  get rle(): RunLengths {
    const total = this.width * this.height;
    const ends = [...this.changes];
    if (ends.at(-1) !== total) ends.push(total); // the last run is never empty, only the first may be
    return { size: [this.height, this.width], counts: compress(ends.map((end, i) => end - (ends[i - 1] ?? 0))) };
  }

  /** Tight; x1 and y1 are outside. Zeros for an empty mask. */
  get bounds(): Box { return this.area ? this.box : [0, 0, 0, 0]; }
}

/** The pixels of a mask in its tight box, whose upper left corner is at (x0, y0) of the photo. */
export interface Cut extends Raster { x0: number; y0: number }

/** What a mask's box holds. */
export function decode({ size: [height], counts: text }: RunLengths): Cut {
  const spans: [x: number, y0: number, y1: number][] = [];
  let at = 0;
  decompress(text).forEach((count, i) => {
    for (let start = at, end = at + count; i % 2 && start < end;) {
      const x = Math.floor(start / height);
      const stop = Math.min(end, (x + 1) * height);
      spans.push([x, start - x * height, stop - x * height]);
      start = stop;
    }
    at += count;
  });
  if (!spans.length) return { pixels: new Uint8Array(), width: 0, height: 0, x0: 0, y0: 0 };
  const x0 = spans[0]![0], width = spans.at(-1)![0] + 1 - x0;
  const y0 = spans.reduce((least, [, top]) => Math.min(least, top), height);
  const tall = spans.reduce((most, [, , bottom]) => Math.max(most, bottom), 0) - y0;
  const pixels = new Uint8Array(width * tall);
  for (const [x, top, bottom] of spans) {
    for (let i = (top - y0) * width + x - x0, end = (bottom - y0) * width; i < end; i += width) pixels[i] = 1;
  }
  return { pixels, width, height: tall, x0, y0 };
}
