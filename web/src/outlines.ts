// The outlines of a mask along the edges of its pixels: those of pocketsam/predict/outlines.py. The pixels whose
// centres are inside are the mask again. Pixels that touch at a corner only are different parts.

import type { Point, Polygons } from "./backend.js";
import type { Raster } from "./rle.js";

type Ring = Point[];
interface Box { x: number; y: number; width: number; height: number }
/** Pixels of a mask with a frame of zeros; `step` is the width of a row. */
interface Cells { cells: Uint8Array; step: number }

/** Of each part of a mask, its outer outline and then those of its holes. The mask is to the right of each step. */
export function outlines(mask: Raster): Polygons {
  const box = boxOf(mask);
  if (!box) return [];
  const padded = pad(mask, box);
  const { labels, count } = labelParts(padded);
  const outer: Ring[][] = Array.from({ length: count }, () => []);
  const holes: Ring[][] = Array.from({ length: count }, () => []);
  for (const ring of rings(padded)) {
    const part = labels[cellInside(ring, padded.step)]! - 1;
    const moved = ring.map(([x, y]): Point => [x + box.x - 1, y + box.y - 1]);
    (isClockwise(ring) ? outer : holes)[part]!.push(moved);
  }
  return outer.map((rings, part) => [...rings, ...holes[part]!]);
}

function boxOf({ width, height, pixels }: Raster): Box | null {
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y++) {
    const row = pixels.subarray(y * width, (y + 1) * width);
    const first = row.indexOf(1);
    if (first < 0) continue;
    left = Math.min(left, first);
    right = Math.max(right, row.lastIndexOf(1));
    top = Math.min(top, y);
    bottom = y;
  }
  return bottom < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

function pad({ width, pixels }: Raster, box: Box): Cells {
  const step = box.width + 2;
  const cells = new Uint8Array(step * (box.height + 2));
  for (let y = 0; y < box.height; y++) {
    const start = (box.y + y) * width + box.x;
    cells.set(pixels.subarray(start, start + box.width), (y + 1) * step + 1);
  }
  return { cells, step };
}

/** The number of the part, from 1 on, that each cell belongs to: cells are connected by their edges. */
function labelParts({ cells, step }: Cells): { labels: Int32Array; count: number } {
  const labels = new Int32Array(cells.length);
  let count = 0;
  for (let first = cells.indexOf(1); first >= 0; first = cells.indexOf(1, first + 1)) {
    if (labels[first]) continue;
    labels[first] = ++count;
    const waiting = [first];
    for (let cell = waiting.pop(); cell !== undefined; cell = waiting.pop()) {
      for (const next of [cell - 1, cell + 1, cell - step, cell + step]) {
        if (!cells[next] || labels[next]) continue;
        labels[next] = count;
        waiting.push(next);
      }
    }
  }
  return { labels, count };
}

const RIGHT = 0;
const STEPS: readonly Point[] = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up

/** The closed outlines, as the corners (x, y) of cells: each begins at the first cell that it passes above. */
function* rings({ cells, step }: Cells): Generator<Ring> {
  const passed = new Uint8Array(cells.length);
  for (let cell = cells.indexOf(1); cell >= 0; cell = cells.indexOf(1, cell + 1)) {
    if (!cells[cell - step] && !passed[cell]) yield* split(follow(cells, step, cell, passed));
  }
}

/** The outline that passes above a cell, which is marked, as are the others that it passes above. */
function follow(cells: Uint8Array, step: number, first: number, passed: Uint8Array): Ring {
  const ring: Ring = [];
  let [x, y, direction] = [first % step, Math.floor(first / step), RIGHT];
  for (let at = first; !(at === first && direction === RIGHT && ring.length); at = y * step + x) {
    if (direction === RIGHT) passed[at] = 1;
    x += STEPS[direction]![0];
    y += STEPS[direction]![1];
    const turned = turn(cells, step, y * step + x, direction);
    if (turned !== direction) ring.push([x, y]);
    direction = turned;
  }
  return ring;
}

/** Where an outline goes on from a corner, whose lower right cell is `at`: the mask stays to the right. */
function turn(cells: Uint8Array, step: number, at: number, direction: number): number {
  const corners = [at, at - 1, at - step - 1, at - step]; // clockwise, from the lower right one on
  const right = cells[corners[direction]!];
  const left = cells[corners[(direction + 3) & 3]!];
  if (!right) return (direction + 1) & 3;
  return left ? (direction + 3) & 3 : direction;
}

/** Where an outline passes a corner for the second time, what lies between is an outline of its own. */
function split(ring: Ring): Ring[] {
  const found: Ring[] = [];
  const kept: Ring = [];
  const places = new Map<string, number>();
  for (const point of ring) {
    const place = places.get(String(point));
    if (place === undefined) {
      places.set(String(point), kept.length);
      kept.push(point);
      continue;
    }
    found.push(kept.slice(place));
    for (const passed of kept.splice(place + 1)) places.delete(String(passed));
  }
  return [...found, kept];
}

function isClockwise(ring: Ring): boolean {
  return ring.reduce((sum, [x, y], i) => sum + x * ring[(i + 1) % ring.length]![1] - y * ring[(i + 1) % ring.length]![0], 0) > 0;
}

/** A cell of the mask beside the first step. */
function cellInside(ring: Ring, step: number): number {
  const [[x, y], [nextX, nextY]] = ring as [Point, Point];
  if (y === nextY) return nextX > x ? y * step + x : (y - 1) * step + x - 1;
  return nextY > y ? y * step + x - 1 : (y - 1) * step + x;
}
