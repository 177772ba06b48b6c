// A mask's logits as what the page shows: run lengths, outlines, a box.

import type { Mask, Point, Polygons, RunLengths } from "../backend.js";
import { outlines } from "../outlines.js";
import type { Geometry } from "./geometry.js";
import { decode, RunLengthEncoder } from "./runlengths.js";

/** The run lengths of a mask's logits (h, w) at the photo's resolution. */
export function binarise(logits: Float32Array, geometry: Geometry): RunLengthEncoder {
  const encoder = new RunLengthEncoder(geometry.width, geometry.height);
  const region = geometry.region(logits, 0);
  if (region) geometry.upsample(logits, region, (x, values) => encoder.column(x, region.y0, values));
  return encoder;
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
