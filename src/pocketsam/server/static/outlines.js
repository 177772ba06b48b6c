// The outlines of a mask, by border following (Suzuki and Abe, 1985): the same as cv2.findContours gives in
// pocketsam/predict/outlines.py. They run through the centres of the outermost pixels.
const STEPS = [[1, 0], [1, -1], [0, -1], [-1, -1], [-1, 0], [-1, 1], [0, 1], [1, 1]];
const RIGHT = 1 << 31; // marks a border whose right neighbour is outside; with it, a number is negative
/** Of each part of a mask, its outer outline and then those of its holes. What is thinner than two pixels has none. */
export function outlines(mask) {
    const box = boxOf(mask);
    if (!box)
        return [];
    const parts = [];
    const borders = follow(padded(mask, box), box);
    for (const { points, isHole, part } of borders) {
        if (!isHole)
            parts[part] = points.length > 2 ? [points] : [];
    }
    for (const { points, isHole, part } of borders) {
        if (isHole && parts[part].length && points.length > 2)
            parts[part].push(points);
    }
    return parts.filter((part) => part.length);
}
function boxOf({ width, height, pixels }) {
    let [left, right, top, bottom] = [width, -1, height, -1];
    for (let y = 0; y < height; y++) {
        const first = pixels.subarray(y * width, (y + 1) * width).indexOf(1);
        if (first < 0)
            continue;
        left = Math.min(left, first);
        right = Math.max(right, pixels.subarray(y * width, (y + 1) * width).lastIndexOf(1));
        top = Math.min(top, y);
        bottom = y;
    }
    return bottom < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}
/** The pixels in a box, with a frame of zeros. */
function padded({ width, pixels }, box) {
    const step = box.width + 2;
    const cells = new Int32Array(step * (box.height + 2));
    for (let y = 0; y < box.height; y++) {
        const start = (box.y + y) * width + box.x;
        cells.set(pixels.subarray(start, start + box.width), (y + 1) * step + 1);
    }
    return cells;
}
/** All borders, each after the one that it lies in. Cells get the numbers of their borders, from 2 on. */
function follow(cells, box) {
    const step = box.width + 2;
    const borders = [];
    for (let start = step; start < cells.length - step; start += step) {
        let before = 0, last = 0; // the number of the border met last in this row
        for (let i = start + 1; i < start + step; i++) {
            const value = cells[i];
            const isHole = value === 0 && before >= 1;
            if (isHole && before > 1)
                last = before;
            if (isHole || (value === 1 && before === 0)) {
                const number = borders.length + 2;
                const part = isHole ? borders[last - 2].part : borders.length;
                borders.push({ points: trace(cells, step, i - Number(isHole), isHole, number, box), isHole, part });
                last = number;
            }
            before = cells[i];
            if (before & ~1)
                last = before & ~RIGHT;
        }
    }
    return borders;
}
/** The corners of the border that begins at a cell, which is marked with the border's number. */
function trace(cells, step, first, isHole, number, box) {
    const deltas = STEPS.map(([x, y]) => y * step + x);
    const origin = [box.x - 0.5, box.y - 0.5]; // the frame's one pixel, and the middle of a pixel
    const end = isHole ? 0 : 4;
    let direction = end;
    do
        direction = (direction - 1) & 7;
    while (cells[first + deltas[direction]] === 0 && direction !== end);
    let [x, y] = [first % step, Math.floor(first / step)];
    if (direction === end) { // a single pixel
        cells[first] = number | RIGHT;
        return [[x + origin[0], y + origin[1]]];
    }
    const points = [];
    const second = first + deltas[direction];
    let before = direction ^ 4;
    for (let cell = first;;) {
        const from = direction;
        let next;
        do
            next = cell + deltas[++direction & 7];
        while (cells[next] === 0);
        direction &= 7;
        if (direction >= 1 && direction <= from)
            cells[cell] = number | RIGHT;
        else if (cells[cell] === 1)
            cells[cell] = number;
        if (direction !== before)
            points.push([x + origin[0], y + origin[1]]);
        before = direction;
        x += STEPS[direction][0];
        y += STEPS[direction][1];
        if (next === first && cell === second)
            return points;
        cell = next;
        direction = (direction + 4) & 7;
    }
}
