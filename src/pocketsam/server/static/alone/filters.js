// The filters of everything mode: see pocketsam/automatic/filters.py.
const COARSE_CELLS = 100; // the stability of a mask of fewer cells is not estimated from its cells
const COARSE_MARGIN = 0.1; // how much the stability measured in cells may differ from that in pixels
/** How little a mask changes with the threshold: the IoU of the masks cut at +offset and -offset. 0 if empty. */
export function stabilityScore(smaller, larger) {
    return larger ? smaller / larger : 0;
}
/** Whether a mask's logits (side, side), of which `cells` columns and rows show the photo, cannot be stable in pixels. */
export function isClearlyUnstable(logits, side, [columns, rows], offset, threshold) {
    let smaller = 0, larger = 0;
    for (let y = 0; y < rows; y++) {
        for (let i = y * side, end = i + columns; i < end; i++) {
            if (logits[i] > -offset)
                larger++;
            if (logits[i] > offset)
                smaller++;
        }
    }
    return larger >= COARSE_CELLS && stabilityScore(smaller, larger) < threshold - COARSE_MARGIN;
}
/** Non-maximum suppression: the indices of the boxes to keep, best first; of equals the first stays. */
export function nms(boxes, scores, threshold) {
    const kept = [];
    const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
    for (const i of order) {
        if (kept.every((better) => boxIou(boxes[better], boxes[i]) <= threshold))
            kept.push(i);
    }
    return kept;
}
/** 0 where the boxes have no area. */
function boxIou(a, b) {
    const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
    const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
    const both = Math.max(0, width) * Math.max(0, height);
    const union = area(a) + area(b) - both;
    return union > 0 ? both / union : 0;
}
/** As published, everything mode compares boxes whose x1 and y1 are the last column and row themselves. */
export function outermostPixels([x0, y0, x1, y1]) {
    return [x0, y0, Math.max(x1 - 1, 0), Math.max(y1 - 1, 0)];
}
/**
 * A mask of a photo (W, H) without holes and then without islands of less than `smallest` pixels; null if it had none.
 *
 * Whatever is outside the mask and connected to no more than that is a hole, at the photo's edge too. The largest
 * island stays.
 */
export function withoutSmallRegions(cut, photo, smallest) {
    const padded = pad(cut, photo);
    const holes = regions(padded, 0).filter((one) => one.area < smallest);
    for (const { members } of holes)
        for (const pixel of members)
            padded.pixels[pixel] = 1;
    const islands = regions(padded, 1);
    const large = islands.filter((one) => one.area >= smallest);
    if (!holes.length && large.length === islands.length)
        return null;
    const kept = large.length ? large : islands.filter((one) => one.area === Math.max(...islands.map(({ area }) => area))).slice(0, 1);
    if (kept.length < islands.length) {
        padded.pixels.fill(0);
        for (const { members } of kept)
            for (const pixel of members)
                padded.pixels[pixel] = 1;
    }
    return expand(padded, photo);
}
function pad(cut, [photoWidth, photoHeight]) {
    const along = (start, length, all) => {
        const after = all - start - length;
        return Int32Array.from([...(start ? [start] : []), ...new Array(length).fill(1), ...(after ? [after] : [])]);
    };
    const columns = along(cut.x0, cut.width, photoWidth), rows = along(cut.y0, cut.height, photoHeight);
    const left = Number(cut.x0 > 0), above = Number(cut.y0 > 0);
    const pixels = new Uint8Array(columns.length * rows.length);
    for (let y = 0; y < cut.height; y++) {
        pixels.set(cut.pixels.subarray(y * cut.width, (y + 1) * cut.width), (y + above) * columns.length + left);
    }
    return { pixels, width: columns.length, height: rows.length, x0: cut.x0 - left, y0: cut.y0 - above, columns, rows };
}
/** The cut of what is left; a row or column that stands for many is in the mask when a hole that it belongs to was filled. */
function expand(padded, [photoWidth, photoHeight]) {
    const { pixels, width, height, columns, rows } = padded;
    const border = pixels.some((inside, i) => {
        const x = i % width, y = Math.floor(i / width);
        return inside && (columns[x] > 1 || rows[y] > 1);
    });
    if (!border)
        return padded;
    const whole = new Uint8Array(photoWidth * photoHeight);
    for (let y = 0, top = 0; y < height; top += rows[y++]) {
        for (let x = 0, left = 0; x < width; left += columns[x++]) {
            if (!pixels[y * width + x])
                continue;
            for (let i = top; i < top + rows[y]; i++)
                whole.fill(1, i * photoWidth + left, i * photoWidth + left + columns[x]);
        }
    }
    return { pixels: whole, width: photoWidth, height: photoHeight, x0: 0, y0: 0 };
}
/** The connected regions of a value, also across corners: their members, and their areas in the photo. */
function regions({ pixels, width, height, columns, rows }, value) {
    const seen = new Uint8Array(pixels.length);
    const found = [];
    for (let first = 0; first < pixels.length; first++) {
        if (seen[first] || pixels[first] !== value)
            continue;
        const members = [first];
        let area = 0;
        seen[first] = 1;
        for (let i = 0; i < members.length; i++) {
            const x = members[i] % width, y = Math.floor(members[i] / width);
            area += columns[x] * rows[y];
            for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
                for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
                    const beside = row * width + column;
                    if (seen[beside] || pixels[beside] !== value)
                        continue;
                    seen[beside] = 1;
                    members.push(beside);
                }
            }
        }
        found.push({ members, area });
    }
    return found;
}
