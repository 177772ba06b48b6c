// What is said to screen readers.
import { area } from "./rle.js";
import { announce } from "./status.js";
export function counted(count, what) {
    return `${count} ${what}${count === 1 ? "" : "s"}`;
}
/** Says what an object is now: its share of a photo of so many pixels, and its score. */
export function describe(object, pixels) {
    const { name, mask } = object ?? {};
    if (!mask)
        return;
    const share = Math.round((100 * area(mask.rle)) / pixels);
    const score = mask.predictedIou ? `, predicted IoU ${Math.round(100 * mask.predictedIou)} %` : "";
    announce(`${name}: ${share} % of the photo${score}.`);
}
