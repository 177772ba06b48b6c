// Small regions, holes in a mask and islands beside it: see pocketsam/predict/regions.py.

import type { Cut } from "./runlengths.js";

/**
 * A mask of a photo (W, H) without holes and then without islands of less than `smallest` pixels; null if it had none.
 *
 * Whatever is outside the mask and connected to no more than that is a hole, at the photo's edge too. The largest
 * island stays.
 */
export function withoutSmallRegions(cut: Cut, photo: [width: number, height: number], smallest: number): Cut | null {
  const padded = pad(cut, photo);
  return removeSmallRegions(padded, smallest) ? expand(padded, photo) : null;
}

/**
 * Logits (side, side) without holes and islands of less than `smallest` cells: there they change their sign.
 *
 * An empty mask stays empty.
 */
export function cleanLogits(logits: Float32Array, side: number, smallest: number): Float32Array {
  const pixels = Uint8Array.from(logits, (value) => Number(value > 0));
  const ones = new Int32Array(side).fill(1);
  const mask = { pixels: pixels.slice(), width: side, height: side, x0: 0, y0: 0, columns: ones, rows: ones };
  if (!smallest || !pixels.includes(1) || !removeSmallRegions(mask, smallest)) return logits;
  return logits.map((value, i) => mask.pixels[i] === pixels[i] ? value : -value);
}

/** Fills small holes and then removes small islands; whether there were any. */
function removeSmallRegions(mask: Padded, smallest: number): boolean {
  const holes = regions(mask, 0).filter((one) => one.area < smallest);
  for (const { members } of holes) for (const pixel of members) mask.pixels[pixel] = 1;
  const islands = regions(mask, 1);
  const large = islands.filter((one) => one.area >= smallest);
  if (!holes.length && large.length === islands.length) return false;
  const largest = Math.max(...islands.map(({ area }) => area));
  const kept = large.length ? large : islands.filter((one) => one.area === largest).slice(0, 1);
  if (kept.length < islands.length) {
    mask.pixels.fill(0);
    for (const { members } of kept) for (const pixel of members) mask.pixels[pixel] = 1;
  }
  return true;
}

/** A cut with one more row or column on each side where the photo goes on: it stands for all of them. */
interface Padded extends Cut { columns: Int32Array; rows: Int32Array }

function pad(cut: Cut, [photoWidth, photoHeight]: [number, number]): Padded {
  const along = (start: number, length: number, all: number): Int32Array => {
    const after = all - start - length;
    return Int32Array.from([...(start ? [start] : []), ...new Array<number>(length).fill(1), ...(after ? [after] : [])]);
  };
  const columns = along(cut.x0, cut.width, photoWidth), rows = along(cut.y0, cut.height, photoHeight);
  const left = Number(cut.x0 > 0), above = Number(cut.y0 > 0);
  const pixels = new Uint8Array(columns.length * rows.length);
  for (let y = 0; y < cut.height; y++) {
    pixels.set(cut.pixels.subarray(y * cut.width, (y + 1) * cut.width), (y + above) * columns.length + left);
  }
  return { pixels, width: columns.length, height: rows.length, x0: cut.x0 - left, y0: cut.y0 - above, columns, rows };
}

/** The cut of what is left; a row or column that stands for many is in the mask when a hole that it belongs to was filled. */
function expand(padded: Padded, [photoWidth, photoHeight]: [number, number]): Cut {
  const { pixels, width, height, columns, rows } = padded;
  const border = pixels.some((inside, i) => {
    const x = i % width, y = Math.floor(i / width);
    return inside && (columns[x]! > 1 || rows[y]! > 1);
  });
  if (!border) return padded;
  const whole = new Uint8Array(photoWidth * photoHeight);
  for (let y = 0, top = 0; y < height; top += rows[y++]!) {
    for (let x = 0, left = 0; x < width; left += columns[x++]!) {
      if (!pixels[y * width + x]) continue;
      for (let i = top; i < top + rows[y]!; i++) whole.fill(1, i * photoWidth + left, i * photoWidth + left + columns[x]!);
    }
  }
  return { pixels: whole, width: photoWidth, height: photoHeight, x0: 0, y0: 0 };
}

/** The connected regions of a value, also across corners: their members, and their areas in the photo. */
function regions({ pixels, width, height, columns, rows }: Padded, value: 0 | 1): { members: number[]; area: number }[] {
  const seen = new Uint8Array(pixels.length);
  const found: { members: number[]; area: number }[] = [];
  for (let first = 0; first < pixels.length; first++) {
    if (seen[first] || pixels[first] !== value) continue;
    const members = [first];
    let area = 0;
    seen[first] = 1;
    for (let i = 0; i < members.length; i++) {
      const x = members[i]! % width, y = Math.floor(members[i]! / width);
      area += columns[x]! * rows[y]!;
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const beside = row * width + column;
          if (seen[beside] || pixels[beside] !== value) continue;
          seen[beside] = 1;
          members.push(beside);
        }
      }
    }
    found.push({ members, area });
  }
  return found;
}
