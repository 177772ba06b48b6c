// What is said to screen readers.

import type { PhotoObject } from "./objects.js";
import { area } from "./rle.js";
import { announce } from "./status.js";

export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** Says what an object is now: its share of a photo of so many pixels, and its score. */
export function describe(object: PhotoObject | undefined, pixels: number): void {
  const { name, mask } = object ?? {};
  if (!mask) return;
  const share = Math.round((100 * area(mask.rle)) / pixels);
  const score = mask.predictedIou ? `, predicted IoU ${Math.round(100 * mask.predictedIou)} %` : "";
  announce(`${name}: ${share} % of the photo${score}.`);
}
