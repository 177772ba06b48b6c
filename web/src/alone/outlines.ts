// The outlines of masks, along the edges of pixels: the pixels whose centres are inside are the mask again. Pixels that
// touch at a corner only are different parts. See pocketsam/predict/outlines.py.

import type { Point, Polygons, RunLengths } from "../backend.js";
import { decode, type Cut } from "./runlengths.js";

const STEPS: readonly Point[] = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // each is a turn to the right from the one before

/** Of each part of a mask, its outer outline, clockwise, and then those of its holes. */
export function outlines(rle: RunLengths): Polygons {
  const cut = decode(rle);
  const all = [...rings(cut)];
  const outer = all.filter(isClockwise), holes = all.filter((ring) => !isClockwise(ring));
  const partOf = outer.length > 1 ? parts(cut, outer) : () => 0;
  const found = outer.map((ring) => [ring]);
  for (const ring of holes) found[partOf(ring)]!.push(ring);
  return found.map((part) => part.map((ring) => ring.map(([x, y]): Point => [x + cut.x0, y + cut.y0])));
}

/** The closed outlines in a cut, the mask to the right of each step; none touches itself. */
function* rings(cut: Cut): Generator<Point[]> {
  const { mask, width, height } = cut;
  const inside = (x: number, y: number) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] === 1;
  // Whether an outline leaves the upper left corner of pixel (x, y) in a direction.
  const leaves = (x: number, y: number, direction: number): boolean => {
    switch (direction) {
      case 0: return inside(x, y) && !inside(x, y - 1);
      case 1: return inside(x - 1, y) && !inside(x, y);
      case 2: return inside(x - 1, y - 1) && !inside(x - 1, y);
      default: return inside(x, y - 1) && !inside(x - 1, y - 1);
    }
  };
  const seen = new Uint8Array(mask.length); // pixels along whose upper edge an outline was followed
  for (let start = 0; start < mask.length; start++) {
    const x0 = start % width, y0 = Math.floor(start / width);
    if (seen[start] || !leaves(x0, y0, 0)) continue;
    const corners: Point[] = [];
    const places = new Map<number, number>(); // of the corners
    let x = x0, y = y0, direction = 0;
    do {
      const place = y * (width + 1) + x;
      const before = places.get(place);
      if (before !== undefined) { // it touches itself here: the loop is an outline of its own
        yield corners.splice(before);
        for (const [key, index] of places) if (index >= before) places.delete(key);
      }
      places.set(place, corners.length);
      corners.push([x, y]);
      do {
        if (direction === 0) seen[y * width + x] = 1;
        x += STEPS[direction]![0];
        y += STEPS[direction]![1];
      } while (leaves(x, y, direction) && !leaves(x, y, (direction + 1) % 4));
      direction = leaves(x, y, (direction + 1) % 4) ? (direction + 1) % 4 : (direction + 3) % 4;
    } while (x !== x0 || y !== y0 || direction !== 0);
    yield corners;
  }
}

/** The number of a pixel of the mask that an outline passes. */
function pixelInside(ring: Point[], width: number): number {
  const [[x0, y0], [x1, y1]] = ring as [Point, Point];
  const x = x1 > x0 || y1 < y0 ? x0 : x0 - 1, y = x1 > x0 || y1 > y0 ? y0 : y0 - 1;
  return y * width + x;
}

function isClockwise(ring: Point[]): boolean {
  let area = 0;
  ring.forEach(([x, y], i) => {
    const [nextX, nextY] = ring[(i + 1) % ring.length]!;
    area += x * nextY - nextX * y;
  });
  return area > 0;
}

/** Numbers the connected parts of a mask, across edges only, as their outer outlines; gives the part of any outline. */
function parts({ mask, width, height }: Cut, outer: Point[][]): (ring: Point[]) => number {
  const numbers = new Int32Array(mask.length);
  const waiting: number[] = [];
  const visit = (pixel: number, number: number) => {
    if (!mask[pixel] || numbers[pixel]) return;
    numbers[pixel] = number;
    waiting.push(pixel);
  };
  outer.forEach((ring, i) => {
    visit(pixelInside(ring, width), i + 1);
    for (let pixel = waiting.pop(); pixel !== undefined; pixel = waiting.pop()) {
      const x = pixel % width;
      if (x > 0) visit(pixel - 1, i + 1);
      if (x < width - 1) visit(pixel + 1, i + 1);
      if (pixel >= width) visit(pixel - width, i + 1);
      if (pixel < width * (height - 1)) visit(pixel + width, i + 1);
    }
  });
  return (ring) => numbers[pixelInside(ring, width)]! - 1;
}
