// Everything mode: masks of all objects, without a prompt: see pocketsam/automatic/generator.py.
// The whole photo is one crop here, and the options are the model's own.
import { FOREGROUND, PADDING } from "./config.js";
import { isClearlyUnstable, nms, outermostPixels, stabilityScore } from "./filters.js";
import { describe } from "./masks.js";
import { cleanLogits } from "./regions.js";
import { RunLengthEncoder } from "./runlengths.js";
import { pointGrid, Schedule } from "./schedule.js";
const POINTS_PER_BATCH = 64;
const OFFSET = 1; // how far from the threshold, in logits, a mask is cut to measure its stability
const SAME = 0.7; // two masks are duplicates when the IoU of their boxes is greater
/** The masks of all objects in a photo. `report` gets the part that is done, from 0 to 1; what it throws ends the work. */
export async function segmentEverything(decoder, geometry, report = () => { }) {
    const { config, width, height } = geometry;
    const schedule = new Schedule(pointGrid(config.points_per_side, width, height), geometry);
    const found = [];
    for (const batch of schedule.batches(POINTS_PER_BATCH)) {
        const part = (done) => report(schedule.done + done * (schedule.next - schedule.done));
        const { masks, promising, certain } = await candidates(decoder, geometry, batch.map((i) => schedule.points[i]), part);
        schedule.note(promising.map((i) => batch[i]), certain);
        found.push(...masks);
    }
    const kept = nms(found.map((one) => outermostPixels(one.bounds)), found.map((one) => one.iou), SAME);
    return kept.map((i) => describe(found[i], found[i].iou));
}
/** What a batch of single clicks found: masks, the numbers of the points that found one or nearly did, certain cells. */
async function candidates(decoder, geometry, points, report) {
    const { config, side } = geometry;
    const prediction = await decoder.predictIou(...clickTokens(points, geometry), points.length);
    const masks = [], promising = new Set(), certain = new Uint8Array(side ** 2);
    for (let i = 0; i < points.length; i++) {
        report(i / points.length);
        const confident = confidentMasks(prediction.iou.subarray(4 * i, 4 * i + 4), config);
        if (!confident.length)
            continue;
        const logits = await decoder.decodeMasks(prediction.objects[i]);
        for (const mask of confident) {
            const cells = logits.subarray(mask * side ** 2, (mask + 1) * side ** 2);
            if (isClearlyUnstable(cells, side, geometry.cells, OFFSET, config.stability_score_thresh))
                continue;
            promising.add(i);
            const measured = measure(cells, geometry);
            if (measured.stability < config.stability_score_thresh)
                continue;
            masks.push({ ...measured, iou: prediction.iou[4 * i + mask] });
            cells.forEach((logit, cell) => { if (logit > config.confident_logit)
                certain[cell] = 1; });
        }
    }
    return { masks, promising: [...promising], certain };
}
/** Each point as one object: (N, P, 2) coordinates and (N, P) labels, padded as the model was trained. */
function clickTokens(points, geometry) {
    const length = Math.max(2, geometry.config.pad_points_to);
    const coordinates = new Float32Array(2 * length * points.length);
    const labels = new Int32Array(length * points.length).fill(PADDING);
    points.forEach((point, i) => {
        coordinates.set(geometry.toModel(point.map(Math.fround)), 2 * length * i);
        labels[length * i] = FOREGROUND;
    });
    return [coordinates, labels];
}
/** The numbers of the masks whose predicted IoU (4) passes its threshold. */
function confidentMasks(iou, config) {
    return [...config.click_masks].sort().filter((mask) => iou[mask] > config.pred_iou_thresh || config.pred_iou_thresh <= 0);
}
/** A mask without small regions at the photo's resolution, but only where it is. */
function measure(decoded, geometry) {
    const logits = cleanLogits(decoded, geometry.side, geometry.config.min_mask_region_cells);
    const encoder = new RunLengthEncoder(geometry.width, geometry.height);
    const region = geometry.region(logits, -OFFSET);
    let smaller = 0, larger = 0;
    if (region) {
        geometry.upsample(logits, region, (x, values) => {
            for (const value of values) {
                if (value > -OFFSET)
                    larger++;
                if (value > OFFSET)
                    smaller++;
            }
            encoder.column(x, region.y0, values);
        });
    }
    return { rle: encoder.rle, area: encoder.area, bounds: encoder.bounds, stability: stabilityScore(smaller, larger) };
}
