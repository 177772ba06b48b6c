// The files that annotations are exported to without a server: see pocketsam/predict/formats.
import { outlinesOf } from "./masks.js";
import { decode } from "./runlengths.js";
const TABLE = [
    { suffix: ".masks.json", what: "COCO: the photo and an annotation for each mask", encode: coco },
    { suffix: ".geojson", what: "GeoJSON: polygons in pixels, y pointing down", encode: geojson },
];
/** The formats that can be exported to. */
export const FORMATS = TABLE.map(({ suffix, what }) => ({ suffixes: [suffix], what }));
/** The annotations of a photo as a file. */
export function exported(photo, annotations, suffix) {
    if (!annotations.length)
        throw new Error("This photo has no annotations to export; make one first.");
    const format = TABLE.find((one) => one.suffix === suffix);
    const stem = photo.name.replace(/\.[^.]*$/, "");
    return new File([format.encode(photo, annotations, suffix)], stem + suffix, { type: "application/json" });
}
/** As the server of `pocketsam serve` writes and reads it: each annotation keeps its prompt. */
function coco(photo, annotations) {
    const names = [...new Set(annotations.map((one) => one.name))].sort();
    const [height, width] = annotations[0].rle.size;
    return JSON.stringify({
        images: [{ id: 1, file_name: photo.name, width, height }],
        annotations: annotations.map(({ rle, name, predicted_iou, ...prompt }, i) => {
            const { pixels, width, height, x0, y0 } = decode(rle);
            const area = pixels.reduce((sum, pixel) => sum + pixel, 0);
            return {
                id: i + 1, image_id: 1, category_id: names.indexOf(name) + 1, segmentation: rle,
                bbox: [x0, y0, width, height], area, iscrowd: 0, predicted_iou, empty: area === 0, object: i, prompt,
            };
        }),
        categories: names.map((name, i) => ({ id: i + 1, name })),
    });
}
function geojson(photo, annotations) {
    const [height, width] = annotations[0].rle.size;
    const features = annotations.map(({ rle, name, predicted_iou }, object) => {
        const coordinates = outlinesOf(rle).map((part) => part.map((ring) => [...ring, ring[0]])); // a ring ends where it starts
        return {
            type: "Feature",
            geometry: coordinates.length ? { type: "MultiPolygon", coordinates } : null,
            properties: { name, predicted_iou, empty: !coordinates.length, object },
        };
    });
    return JSON.stringify({ type: "FeatureCollection", image: { file_name: photo.name, width, height }, features });
}
