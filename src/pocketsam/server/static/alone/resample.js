// Resampling as Pillow and OpenCV do it, an axis at a time.
/** The axis of which output i mixes `parts(i)`: neighbouring inputs of 0 to inputs - 1, in any order. */
function axis(outputs, inputs, most, parts) {
    const taps = Math.min(most, inputs);
    const first = new Int32Array(outputs);
    const weights = new Float32Array(outputs * taps);
    for (let i = 0; i < outputs; i++) {
        const mixed = parts(i);
        const start = Math.min(...mixed.map(([index]) => index), inputs - taps);
        first[i] = start;
        for (const [index, weight] of mixed)
            weights[i * taps + index - start] += weight;
    }
    return { taps, first, weights };
}
/** OpenCV's INTER_LINEAR: the two nearest inputs, in shrinking too. */
export function linear(inputs, outputs) {
    return axis(outputs, inputs, 2, (i) => {
        const at = Math.min(Math.max((i + 0.5) * (inputs / outputs) - 0.5, 0), inputs - 1);
        const left = Math.min(Math.floor(at), Math.max(0, inputs - 2));
        return inputs > 1 ? [[left, 1 - (at - left)], [left + 1, at - left]] : [[0, 1]];
    });
}
const SHARPNESS = -0.75; // the cubic's parameter: its slope at distance 1
/** OpenCV's INTER_CUBIC (Keys 1981): the four nearest inputs; those at the ends are repeated. */
export function cubic(inputs, outputs) {
    return axis(outputs, inputs, 4, (i) => {
        const at = (i + 0.5) * (inputs / outputs) - 0.5;
        const left = Math.floor(at);
        return [-1, 0, 1, 2].map((step) => {
            const inside = Math.min(Math.max(left + step, 0), inputs - 1);
            return [inside, cubicWeight(Math.abs(at - left - step))];
        });
    });
}
function cubicWeight(distance) {
    const d = distance, a = SHARPNESS;
    if (d <= 1)
        return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1;
    return d < 2 ? a * (d ** 3 - 5 * d ** 2 + 8 * d - 4) : 0;
}
/** `second` of the first outputs of `first`, which has `inputs` inputs, as one step. */
export function compose(first, second, inputs) {
    return axis(second.first.length, inputs, first.taps + second.taps, (i) => {
        const mixed = [];
        for (let k = 0; k < second.taps; k++) {
            const between = second.first[i] + k;
            const weight = second.weights[i * second.taps + k];
            if (!weight)
                continue;
            for (let j = 0; j < first.taps; j++) {
                const part = weight * first.weights[between * first.taps + j];
                if (part)
                    mixed.push([first.first[between] + j, part]);
            }
        }
        return mixed;
    });
}
const BITS = 22; // Pillow's weights are whole multiples of 2^-22
/** Pillow's BILINEAR for uint8: a triangle as wide as the scale, so that every pixel counts; whole numbers throughout. */
function triangle(inputs, outputs) {
    const scale = inputs / outputs;
    const reach = Math.max(scale, 1);
    const taps = Math.ceil(reach) * 2 + 1;
    const first = new Int32Array(outputs), count = new Int32Array(outputs), weights = new Int32Array(outputs * taps);
    for (let i = 0; i < outputs; i++) {
        const centre = (i + 0.5) * scale;
        const start = Math.max(0, Math.trunc(centre - reach + 0.5));
        const stop = Math.min(inputs, Math.trunc(centre + reach + 0.5));
        const heights = Array.from({ length: stop - start }, (_, k) => Math.max(0, 1 - Math.abs((k + start - centre + 0.5) / reach)));
        const sum = heights.reduce((a, b) => a + b, 0);
        first[i] = start;
        count[i] = stop - start;
        heights.forEach((height, k) => { weights[i * taps + k] = Math.trunc((height / sum) * 2 ** BITS + 0.5); });
    }
    return { first, count, weights, taps };
}
function rounded(sum) {
    const value = (sum + 2 ** (BITS - 1)) >> BITS;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}
/**
 * As Pillow's resize(…, BILINEAR): an RGB image, interleaved.
 *
 * The width is changed first, and values are rounded in between. Pillow 13 begins with the height where that shrinks and
 * the width does not; where both shrink it does so for some images only, which then differ from these by one grey level.
 */
export function resizeAntialiased(image, width, height) {
    const heightFirst = height < image.height && width >= image.width;
    const resized = heightFirst ? resizeRows(resizeColumns(image, height), width) : resizeColumns(resizeRows(image, width), height);
    return resized.data;
}
function resizeRows({ data, width: before, height, channels }, width) {
    return { data: mix(data, triangle(before, width), height, before * channels, channels), width, height, channels: 3 };
}
function resizeColumns({ data, width, height: before, channels }, height) {
    const columns = mix(data, triangle(before, height), width, channels, width * channels);
    const result = new Uint8Array(columns.length); // which has a column after the other
    for (let x = 0, from = 0; x < width; x++) {
        for (let y = 0; y < height; y++, from += 3) {
            const to = 3 * (y * width + x);
            result[to] = columns[from];
            result[to + 1] = columns[from + 1];
            result[to + 2] = columns[from + 2];
        }
    }
    return { data: result, width, height, channels: 3 };
}
/** Mixes the pixels of each of `lines`, which start `lineStep` values apart; its pixels are `step` values apart. */
function mix(data, along, lines, lineStep, step) {
    const { first, count, weights, taps } = along;
    const result = new Uint8Array(3 * lines * first.length);
    for (let line = 0, out = 0; line < lines; line++) {
        for (let i = 0; i < first.length; i++, out += 3) {
            let red = 0, green = 0, blue = 0;
            let at = line * lineStep + first[i] * step;
            for (let k = i * taps, end = k + count[i]; k < end; k++, at += step) {
                const weight = weights[k];
                red += weight * data[at];
                green += weight * data[at + 1];
                blue += weight * data[at + 2];
            }
            result[out] = rounded(red);
            result[out + 1] = rounded(green);
            result[out + 2] = rounded(blue);
        }
    }
    return result;
}
/** As OpenCV's resize of floats, INTER_LINEAR: an RGB image, interleaved. */
export function resizePlain(image, width, height) {
    const across = linear(image.width, width), down = linear(image.height, height);
    const result = new Float32Array(3 * width * height);
    for (let y = 0, out = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
            for (let channel = 0; channel < 3; channel++) {
                let sum = 0;
                for (let j = 0; j < down.taps; j++) {
                    const row = (down.first[y] + j) * image.width + across.first[x];
                    for (let k = 0; k < across.taps; k++) {
                        const weight = down.weights[y * down.taps + j] * across.weights[x * across.taps + k];
                        sum += weight * image.data[(row + k) * image.channels + channel];
                    }
                }
                result[out++] = sum;
            }
        }
    }
    return result;
}
