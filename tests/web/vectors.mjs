// Runs functions of the page's scripts on vectors that Python writes: node vectors.mjs SCRIPTS < cases > results.
// Arrays of numbers travel as base64 of their bytes: { f32: "…" }, { u8: "…" }, { i32: "…" }.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const scripts = pathToFileURL(`${process.argv[2]}/alone/`);
const load = (name) => import(new URL(`${name}.js`, scripts));
const [geometry, prompts, masks, filters, regions, schedule, everything, runlengths] = await Promise.all(
  ["geometry", "prompts", "masks", "filters", "regions", "schedule", "everything", "runlengths"].map(load),
);

const KINDS = { f32: Float32Array, u8: Uint8Array, i32: Int32Array };

function unpack(value) {
  for (const [kind, Kind] of Object.entries(KINDS)) {
    if (value?.[kind] !== undefined) return new Kind(new Uint8Array(Buffer.from(value[kind], "base64")).buffer);
  }
  return value;
}

function pack(value) {
  const kind = Object.keys(KINDS).find((name) => value instanceof KINDS[name]);
  return kind ? { [kind]: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") } : value;
}

const at = ({ config, width, height }) => new geometry.Geometry(config, width, height);

const functions = {
  preprocess: ({ photo, ...size }) => at(size).preprocess({ data: photo, width: size.width, height: size.height, channels: 3 }),
  upsample({ logits, ...size }) {
    const { width, height } = size;
    const full = new Float32Array(width * height);
    at(size).upsample(logits, { x0: 0, y0: 0, x1: width, y1: height }, (x, values) =>
      values.forEach((value, y) => { full[y * width + x] = value; }));
    return full;
  },
  binarise({ logits, limits, ...size }) {
    const { rle, area, bounds } = masks.binarise(logits, at(size), limits);
    return { rle, area, bounds };
  },
  tokens({ prompt, ...size }) {
    const { points, labels } = prompts.tokens(prompt, at(size));
    return { points: [...points], labels: [...labels] };
  },
  limits: ({ prompt, ...size }) => prompts.limits(prompt, at(size)),
  choose: ({ iou, prompt, config }) => prompts.choose(iou, prompt, config),
  nms: ({ boxes, scores, threshold }) => filters.nms(boxes, scores, threshold),
  cleanLogits: ({ logits, side, smallest }) => regions.cleanLogits(logits, side, smallest),
  schedule({ points, noted, batch: size, ...photo }) {
    const found = new schedule.Schedule(points, at(photo));
    const batches = [];
    for (const batch of found.batches(size)) {
      const { promising, certain } = noted[batches.length % noted.length];
      found.note(batch.filter((_, i) => promising[i % promising.length]), unpack(certain));
      batches.push(batch);
    }
    return batches;
  },
  recode({ rle }) {
    const [height, width] = rle.size;
    const { pixels, width: columns, x0, y0 } = runlengths.decode(rle);
    const encoder = new runlengths.RunLengthEncoder(width, height);
    for (let x = 0; x < columns; x++) encoder.column(x0 + x, y0, pixels.filter((_, i) => i % columns === x));
    return { outlines: masks.outlinesOf(rle), rle: encoder.rle };
  },
  /** A decoder that looks masks up by the point that is prompted. */
  async everything({ points, iou, logits, ...photo }) {
    const size = logits.length / points.length;
    const decoder = {
      async predictIou(given, labels, objects) {
        const length = labels.length / objects;
        const numbers = Array.from({ length: objects }, (_, i) => {
          const [x, y] = [given[2 * length * i], given[2 * length * i + 1]];
          return points.findIndex((point) => Math.abs(point[0] - x) + Math.abs(point[1] - y) < 1e-3);
        });
        return { iou: Float32Array.from(numbers.flatMap((i) => [...iou.subarray(4 * i, 4 * i + 4)])), objects: numbers };
      },
      decodeMasks: async (i) => logits.subarray(i * size, (i + 1) * size),
    };
    return everything.segmentEverything(decoder, at(photo));
  },
};

const cases = JSON.parse(readFileSync(0));
const results = [];
for (const { call, ...given } of cases) {
  const unpacked = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, unpack(value)]));
  try {
    results.push(pack(await functions[call](unpacked)) ?? null);
  } catch (error) {
    results.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(results));
