// Small regions, holes in a mask and islands beside it: see pocketsam/predict/regions.py.

/** A mask (width, height): 1 inside. */
interface Grid { pixels: Uint8Array; width: number; height: number }

/**
 * Logits (side, side) without holes and islands of less than `smallest` cells: there they change their sign.
 *
 * Whatever is outside the mask and connected to no more than that is a hole, at the edge too. The largest island
 * stays, and an empty mask stays empty.
 */
export function cleanLogits(logits: Float32Array, side: number, smallest: number): Float32Array {
  const pixels = Uint8Array.from(logits, (value) => Number(value > 0));
  const mask = { pixels: pixels.slice(), width: side, height: side };
  if (!smallest || !pixels.includes(1) || !removeSmallRegions(mask, smallest)) return logits;
  return logits.map((value, i) => mask.pixels[i] === pixels[i] ? value : -value);
}

/** Fills small holes and then removes small islands; whether there were any. */
function removeSmallRegions(mask: Grid, smallest: number): boolean {
  const holes = regions(mask, 0).filter((hole) => hole.length < smallest);
  for (const hole of holes) for (const pixel of hole) mask.pixels[pixel] = 1;
  const islands = regions(mask, 1);
  const large = islands.filter((island) => island.length >= smallest);
  if (!holes.length && large.length === islands.length) return false;
  const largest = Math.max(...islands.map((island) => island.length));
  const kept = large.length ? large : islands.filter((island) => island.length === largest).slice(0, 1);
  if (kept.length < islands.length) {
    mask.pixels.fill(0);
    for (const island of kept) for (const pixel of island) mask.pixels[pixel] = 1;
  }
  return true;
}

/** The connected regions of a value, also across corners: the pixels of each. */
function regions({ pixels, width, height }: Grid, value: 0 | 1): number[][] {
  const seen = new Uint8Array(pixels.length);
  const found: number[][] = [];
  for (let first = 0; first < pixels.length; first++) {
    if (seen[first] || pixels[first] !== value) continue;
    const members = [first];
    seen[first] = 1;
    for (let i = 0; i < members.length; i++) {
      const x = members[i]! % width, y = Math.floor(members[i]! / width);
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const beside = row * width + column;
          if (seen[beside] || pixels[beside] !== value) continue;
          seen[beside] = 1;
          members.push(beside);
        }
      }
    }
    found.push(members);
  }
  return found;
}
