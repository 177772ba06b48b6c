// Everything mode: the masks that were found, of which the user keeps some.

import type { Mask, Point } from "./backend.js";
import { COLOURS } from "./objects.js";
import type { Shape } from "./painter.js";
import type { View } from "./view.js";

export class Proposals {
  private masks: Mask[] = [];
  private dropped = new Set<Mask>();
  private bar = document.getElementById("proposals")!;
  private slider = document.getElementById("threshold") as HTMLInputElement;

  constructor(private view: View, private changed: () => void) {
    this.slider.addEventListener("input", () => this.update());
  }

  get open(): boolean { return this.masks.length > 0; }

  /** Shows masks, all of which are kept at first. */
  show(masks: Mask[]): void {
    this.masks = [...masks].sort((a, b) => b.area - a.area); // small ones above large ones
    this.dropped.clear();
    this.slider.min = String(Math.floor(100 * Math.min(...masks.map((mask) => mask.predicted_iou))));
    this.slider.value = this.slider.min;
    this.update();
  }

  close(): void {
    this.masks = [];
    this.bar.hidden = true;
  }

  kept(): Mask[] {
    return this.masks.filter((mask) => this.passes(mask) && !this.dropped.has(mask));
  }

  /** Drops the smallest mask at a point, or keeps it again. */
  toggle(point: Point): void {
    const hit = this.masks.findLast((mask) => this.passes(mask) && this.view.contains(mask.polygons, point));
    if (!hit) return;
    if (!this.dropped.delete(hit)) this.dropped.add(hit);
    this.update();
  }

  /** Drops all masks or, where all are dropped, keeps them again. */
  toggleAll(): void {
    const drop = this.kept().length > 0;
    for (const mask of this.masks.filter((one) => this.passes(one))) {
      if (drop) this.dropped.add(mask);
      else this.dropped.delete(mask);
    }
    this.update();
  }

  shapes(): Shape[] {
    return this.masks.flatMap((mask, i) =>
      this.passes(mask)
        ? [{
            polygons: mask.polygons,
            colour: this.dropped.has(mask) ? "#808080" : COLOURS[i % COLOURS.length]!,
            faint: this.dropped.has(mask),
          }]
        : [],
    );
  }

  private passes(mask: Mask): boolean {
    return mask.predicted_iou >= Number(this.slider.value) / 100;
  }

  private update(): void {
    const count = this.kept().length;
    this.bar.hidden = false;
    document.getElementById("kept")!.textContent = `Keep ${count}`;
    document.getElementById("proposals-all")!.textContent = count ? "Drop all" : "Keep all";
    document.getElementById("threshold-value")!.textContent = `${this.slider.value} %`;
    this.changed();
  }
}
