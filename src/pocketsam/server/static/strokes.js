// The brush: strokes that add to a mask or erase from it, by hand.
import { decode, emptyRaster, encode } from "./rle.js";
import { outlines } from "./outlines.js";
/** A mask with strokes painted on it, in their order. rle: the mask before, or null for an empty one. */
export function painted(rle, strokes, width, height) {
    const raster = rle ? decode(rle) : emptyRaster(width, height);
    for (const stroke of strokes)
        paint(raster, stroke);
    return { rle: encode(raster), polygons: outlines(raster) };
}
function paint(raster, { points, radius, adds }) {
    points.forEach((point, i) => segment(raster, points[Math.max(0, i - 1)], point, radius, adds ? 1 : 0));
}
/** Sets the pixels whose centres are within a radius of the line from a to b. */
function segment({ width, height, pixels }, a, b, radius, value) {
    const clamp = (number, most) => Math.min(most, Math.max(0, Math.floor(number)));
    const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    const squared = dx * dx + dy * dy;
    const [right, bottom] = [clamp(Math.max(a[0], b[0]) + radius + 1, width), clamp(Math.max(a[1], b[1]) + radius + 1, height)];
    const left = clamp(Math.min(a[0], b[0]) - radius, width);
    for (let y = clamp(Math.min(a[1], b[1]) - radius, height); y < bottom; y++) {
        for (let x = left; x < right; x++) {
            const [px, py] = [x + 0.5 - a[0], y + 0.5 - a[1]];
            const along = squared ? Math.min(1, Math.max(0, (px * dx + py * dy) / squared)) : 0;
            if (Math.hypot(px - along * dx, py - along * dy) <= radius)
                pixels[y * width + x] = value;
        }
    }
}
