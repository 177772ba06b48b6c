// The worker: the model, and the photos that it has encoded. The page stays free while it computes.

import type { Mask, PhotoDetails, Prompt } from "../backend.js";
import { segmentEverything } from "./everything.js";
import { Geometry } from "./geometry.js";
import { binarise, describe } from "./masks.js";
import type { Reply, Request, Setup } from "./messages.js";
import { Model, type PreparedImage } from "./model.js";
import { readPhoto } from "./photo.js";
import { cleanLogits } from "./regions.js";
import { choose, tokens } from "./prompts.js";
import { Store } from "./store.js";

const MOST_OPEN = 4; // photos that stay encoded, about 13 MB each

interface OpenPhoto { geometry: Geometry; prepared: PreparedImage; name: string }

const port = self as unknown as { postMessage(reply: Reply): void; onmessage: ((event: MessageEvent) => void) | null };
const photos = new Map<string, Promise<OpenPhoto>>();
const cancelled = new Set<number>(); // calls
let model: Promise<Model>;
let store: Promise<Store>;

async function load({ site, threads }: Setup): Promise<Model> {
  const ort = await import(new URL("onnxruntime-web/ort.wasm.min.mjs", site).href);
  ort.env.wasm.wasmPaths = new URL("onnxruntime-web/", site).href;
  ort.env.wasm.numThreads = threads;
  return Model.load(ort, new URL("model/", site), (loading) => port.postMessage({ loading }));
}

function opened(id: string): Promise<OpenPhoto> {
  const found = photos.get(id) ?? encode(id);
  photos.delete(id);
  photos.set(id, found); // the last of the map is the one used last
  found.catch(() => photos.delete(id));
  if (photos.size > MOST_OPEN) photos.delete(photos.keys().next().value!);
  return found;
}

async function encode(id: string): Promise<OpenPhoto> {
  const { file, name } = await (await store).photo(id);
  const pixels = await readPhoto(file, name);
  const ready = await model;
  const geometry = new Geometry(ready.config, pixels.width, pixels.height);
  return { geometry, name, prepared: await ready.prepare(geometry.preprocess(pixels)) };
}

const methods = {
  async open(_call: number, id: string): Promise<PhotoDetails> {
    const { name, geometry: { width, height } } = await opened(id);
    return { id, name, width, height };
  },

  async segment(_call: number, id: string, prompt: Prompt): Promise<Mask> {
    const { geometry, prepared } = await opened(id);
    const { config } = geometry;
    const { iou, logits } = await (await model).segment(prepared, tokens(prompt, geometry));
    const mask = choose(iou, prompt, config);
    const cells = geometry.side ** 2;
    const chosen = logits.subarray(mask * cells, (mask + 1) * cells);
    return describe(binarise(cleanLogits(chosen, geometry.side, config.min_mask_region_cells), geometry), iou[mask]!);
  },

  async everything(call: number, id: string): Promise<Mask[]> {
    const { geometry, prepared } = await opened(id);
    return segmentEverything((await model).decoder(prepared), geometry, (done) => {
      if (cancelled.delete(call)) throw new Error("Stopped.");
      port.postMessage({ call, done });
    });
  },
};

async function answer(request: Request): Promise<void> {
  if ("cancel" in request) {
    cancelled.add(request.cancel);
    return;
  }
  const { call, method } = request;
  try {
    const work = methods[method] as (call: number, ...given: unknown[]) => Promise<unknown>;
    port.postMessage({ call, result: await work(call, ...request.arguments) });
  } catch (error) {
    port.postMessage({ call, error: (error as Error).message });
  }
}

port.onmessage = ({ data: setup }: MessageEvent<Setup>) => {
  store = Store.open(new URL(setup.site));
  model = load(setup);
  model.then(
    ({ config }) => port.postMessage({ ready: config.name }),
    (error: Error) => port.postMessage({ failed: error.message }),
  );
  port.onmessage = ({ data: request }: MessageEvent<Request>) => void answer(request);
};
