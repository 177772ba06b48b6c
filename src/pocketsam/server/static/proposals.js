// Everything mode: the masks that were found, of which the user keeps some.
import { COLOURS } from "./objects.js";
export class Proposals {
    view;
    changed;
    masks = [];
    dropped = new Set();
    bar = document.getElementById("proposals");
    slider = document.getElementById("threshold");
    constructor(view, changed) {
        this.view = view;
        this.changed = changed;
        this.slider.addEventListener("input", () => this.update());
    }
    get open() { return this.masks.length > 0; }
    /** Shows masks, all of which are kept at first. */
    show(masks) {
        this.masks = [...masks].sort((a, b) => b.area - a.area); // small ones above large ones
        this.dropped.clear();
        this.slider.min = String(Math.floor(100 * Math.min(...masks.map((mask) => mask.predicted_iou))));
        this.slider.value = this.slider.min;
        this.update();
    }
    close() {
        this.masks = [];
        this.bar.hidden = true;
    }
    kept() {
        return this.masks.filter((mask) => this.passes(mask) && !this.dropped.has(mask));
    }
    /** Drops the smallest mask at a point, or keeps it again. */
    toggle(point) {
        const hit = this.masks.findLast((mask) => this.passes(mask) && this.view.contains(mask.polygons, point));
        if (!hit)
            return;
        if (!this.dropped.delete(hit))
            this.dropped.add(hit);
        this.update();
    }
    /** Drops all masks or, where all are dropped, keeps them again. */
    toggleAll() {
        const drop = this.kept().length > 0;
        for (const mask of this.masks.filter((one) => this.passes(one))) {
            if (drop)
                this.dropped.add(mask);
            else
                this.dropped.delete(mask);
        }
        this.update();
    }
    shapes() {
        return this.masks.flatMap((mask, i) => this.passes(mask)
            ? [{
                    polygons: mask.polygons,
                    colour: this.dropped.has(mask) ? "#808080" : COLOURS[i % COLOURS.length],
                    faint: this.dropped.has(mask),
                }]
            : []);
    }
    passes(mask) {
        return mask.predicted_iou >= Number(this.slider.value) / 100;
    }
    update() {
        const count = this.kept().length;
        this.bar.hidden = false;
        document.getElementById("kept").textContent = `Keep ${count}`;
        document.getElementById("proposals-all").textContent = count ? "Drop all" : "Keep all";
        document.getElementById("threshold-value").textContent = `${this.slider.value} %`;
        this.changed();
    }
}
