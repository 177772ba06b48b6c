// A mask's logits as what the page shows: run lengths, outlines, a box.

import type { Mask, Point, Polygons, RunLengths } from "../backend.js";
import { outlines } from "../outlines.js";
import type { Geometry, Region } from "./geometry.js";
import { decode, RunLengthEncoder } from "./runlengths.js";

/** The run lengths of a mask's logits (h, w) at the photo's resolution; of what lies within limits, where there are. */
export function binarise(logits: Float32Array, geometry: Geometry, limits: Region | null = null): RunLengthEncoder {
  const encoder = new RunLengthEncoder(geometry.width, geometry.height);
  const region = both(geometry.region(logits, 0), limits);
  if (region) geometry.upsample(logits, region, (x, values) => encoder.column(x, region.y0, values));
  return encoder;
}

/** What lies in a region and within limits; null where nothing does. */
function both(region: Region | null, limits: Region | null): Region | null {
  if (!region || !limits) return region;
  const [x0, y0] = [Math.max(region.x0, limits.x0), Math.max(region.y0, limits.y0)];
  const [x1, y1] = [Math.min(region.x1, limits.x1), Math.min(region.y1, limits.y1)];
  return x0 < x1 && y0 < y1 ? { x0, y0, x1, y1 } : null;
}

/** The outlines of a mask, in pixels of the photo. */
export function outlinesOf(rle: RunLengths): Polygons {
  const cut = decode(rle);
  return outlines(cut).map((part) => part.map((ring) => ring.map(([x, y]): Point => [x + cut.x0, y + cut.y0])));
}

/** A mask as the page takes it. */
export function describe(found: { rle: RunLengths; area: number; bounds: Mask["box"] }, predictedIou: number): Mask {
  return {
    object: 0,
    name: "object",
    rle: found.rle,
    polygons: outlinesOf(found.rle),
    box: found.bounds,
    area: found.area,
    predicted_iou: Math.round(predictedIou * 1e4) / 1e4,
    empty: found.area === 0,
  };
}
