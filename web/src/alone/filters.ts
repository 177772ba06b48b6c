// The filters of everything mode: see pocketsam/automatic/filters.py.

import type { Box } from "../backend.js";

const COARSE_CELLS = 100; // the stability of a mask of fewer cells is not estimated from its cells
const COARSE_MARGIN = 0.1; // how much the stability measured in cells may differ from that in pixels

/** How little a mask changes with the threshold: the IoU of the masks cut at +offset and -offset. 0 if empty. */
export function stabilityScore(smaller: number, larger: number): number {
  return larger ? smaller / larger : 0;
}

/** Whether a mask's logits (side, side), of which `cells` columns and rows show the photo, cannot be stable in pixels. */
export function isClearlyUnstable(
  logits: Float32Array, side: number, [columns, rows]: [number, number], offset: number, threshold: number,
): boolean {
  let smaller = 0, larger = 0;
  for (let y = 0; y < rows; y++) {
    for (let i = y * side, end = i + columns; i < end; i++) {
      if (logits[i]! > -offset) larger++;
      if (logits[i]! > offset) smaller++;
    }
  }
  return larger >= COARSE_CELLS && stabilityScore(smaller, larger) < threshold - COARSE_MARGIN;
}

/** Non-maximum suppression: the indices of the boxes to keep, best first; of equals the first stays. */
export function nms(boxes: Box[], scores: number[], threshold: number): number[] {
  const kept: number[] = [];
  const order = scores.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);
  for (const i of order) {
    if (kept.every((better) => boxIou(boxes[better]!, boxes[i]!) <= threshold)) kept.push(i);
  }
  return kept;
}

/** 0 where the boxes have no area. */
function boxIou(a: Box, b: Box): number {
  const area = ([x0, y0, x1, y1]: Box) => (x1 - x0) * (y1 - y0);
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const both = Math.max(0, width) * Math.max(0, height);
  const union = area(a) + area(b) - both;
  return union > 0 ? both / union : 0;
}

/** As published, everything mode compares boxes whose x1 and y1 are the last column and row themselves. */
export function outermostPixels([x0, y0, x1, y1]: Box): Box {
  return [x0, y0, Math.max(x1 - 1, 0), Math.max(y1 - 1, 0)];
}
