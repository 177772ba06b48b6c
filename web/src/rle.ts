// Masks as COCO's compressed run lengths, column by column, as pocketsam/utils/rle.py has them.

import type { RunLengths } from "./backend.js";

/** A mask of width × height pixels, row by row: 1 on the object, 0 elsewhere. */
export interface Raster { width: number; height: number; pixels: Uint8Array }

export function emptyRaster(width: number, height: number): Raster {
  return { width, height, pixels: new Uint8Array(width * height) };
}

export function encode({ width, height, pixels }: Raster): RunLengths {
  const runs: number[] = [];
  let value = 0, start = 0, place = 0;
  for (let x = 0; x < width; x++) {
    for (let i = x; i < pixels.length; i += width, place++) {
      if (pixels[i] === value) continue;
      runs.push(place - start);
      start = place;
      value = 1 - value;
    }
  }
  runs.push(place - start);
  return { size: [height, width], counts: compress(runs) };
}

export function decode({ size: [height, width], counts }: RunLengths): Raster {
  const raster = emptyRaster(width, height);
  let place = 0, value = 0;
  for (const run of decompress(counts)) {
    if (value) for (let i = place; i < place + run; i++) raster.pixels[(i % height) * width + Math.floor(i / height)] = 1;
    place += run;
    value = 1 - value;
  }
  return raster;
}

/** How many pixels a mask has. */
export function area({ counts }: RunLengths): number {
  return decompress(counts).reduce((sum, run, i) => sum + (i % 2) * run, 0);
}

/**
 * Five bits a character, the lowest first; bit 5 says that the number goes on, bit 4 of its last character that it is
 * negative. From the fourth on, each number is the difference to the last but one.
 */
export function compress(runs: readonly number[]): string {
  let text = "";
  runs.forEach((run, i) => {
    let rest = i > 2 ? run - runs[i - 2]! : run;
    for (let more = true; more;) {
      const bits = rest & 31;
      rest >>= 5;
      more = rest !== (bits & 16 ? -1 : 0);
      text += String.fromCharCode(48 + bits + (more ? 32 : 0));
    }
  });
  return text;
}

export function decompress(counts: string): number[] {
  const runs: number[] = [];
  for (let i = 0; i < counts.length;) {
    let run = 0, shift = 0, bits = 32;
    for (; bits & 32; shift += 5) {
      bits = counts.charCodeAt(i++) - 48;
      run |= (bits & 31) << shift;
    }
    if (bits & 16 && shift < 32) run |= -1 << shift;
    runs.push(runs.length > 2 ? run + runs[runs.length - 2]! : run);
  }
  return runs;
}
