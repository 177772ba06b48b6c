// Clicks and boxes as the decoder's tokens, and which of its four masks is meant: see pocketsam/predict/prompts.py.
import { BOX_END, BOX_START, FOREGROUND, PADDING } from "./config.js";
/** The tokens of one object. Throws an Error when the prompt makes no sense on this photo. */
export function tokens({ points, labels, box }, geometry) {
    const { width, height, config } = geometry;
    for (const [x, y] of points) {
        if (!(x >= 0 && y >= 0 && x < width && y < height))
            throw new Error("The click lies outside the photo.");
    }
    if (!box && !labels.includes(FOREGROUND))
        throw new Error("Click on the object, or draw a box around it.");
    const coordinates = points.map((point) => geometry.toModel(point));
    const kinds = [...labels];
    if (box) {
        const [x0, y0, x1, y1] = inside(box, width, height);
        coordinates.push(geometry.toModel([x0, y0]), geometry.toModel([x1, y1]));
        kinds.push(BOX_START, BOX_END);
    }
    const missing = config.pad_points_to ? config.pad_points_to - kinds.length : Number(!box);
    for (let i = 0; i < missing; i++) {
        coordinates.push([0, 0]);
        kinds.push(PADDING);
    }
    return { points: Float32Array.from(coordinates.flat()), labels: Int32Array.from(kinds) };
}
/** The pixels beyond which an object has none: see Prompts.limits. */
export function limits({ points, labels, box }, { width, height, config }) {
    if (!box || config.box_margin == null)
        return null;
    const [left, top, right, bottom] = inside(box, width, height);
    const [x0, x1] = middles(left, right, config.box_margin, width);
    const [y0, y1] = middles(top, bottom, config.box_margin, height);
    const outside = points.some(([x, y], i) => labels[i] === FOREGROUND && !(x >= x0 && x < x1 && y >= y0 && y < y1));
    return outside ? null : { x0, y0, x1, y1 };
}
/** The pixels, one at least, whose middles lie between two numbers and a margin around them: from one to before another. */
function middles(first, last, margin, count) {
    const wide = margin * (last - first);
    const start = Math.min(Math.max(0, Math.ceil(first - wide - 0.5)), count - 1);
    return [start, Math.max(start + 1, Math.min(count, Math.floor(last + wide - 0.5) + 1))];
}
/** The part of a box inside the photo. */
function inside([x0, y0, x1, y1], width, height) {
    const clip = (value, most) => Math.min(Math.max(value, 0), most);
    const clipped = [clip(x0, width), clip(y0, height), clip(x1, width), clip(y1, height)];
    if (!(clipped[0] < clipped[2] && clipped[1] < clipped[3]))
        throw new Error("The box has no area inside the photo.");
    return clipped;
}
/** SAM's rule for one mask: the most confident of those that the prompt may mean; a single click is ambiguous. */
export function choose(predictedIou, { labels, box }, config) {
    const ambiguous = !box && labels.filter((label) => label !== PADDING).length === 1;
    const allowed = ambiguous ? config.click_masks : config.prompt_masks;
    return allowed.reduce((best, mask) => (predictedIou[mask] > predictedIou[best] ? mask : best));
}
