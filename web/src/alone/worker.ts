// The worker: the model, and the photos that it has encoded. The page stays free while it computes.

import type { Mask, PhotoDetails, Prompt } from "../backend.js";
import { type Decoder, segmentEverything } from "./everything.js";
import { Geometry } from "./geometry.js";
import { binarise, describe } from "./masks.js";
import type { Reply, Request, Setup } from "./messages.js";
import { type Device, Model, type PreparedImage } from "./model.js";
import { readPhoto } from "./photo.js";
import { cleanLogits } from "./regions.js";
import { choose, limits, tokens } from "./prompts.js";
import { Store } from "./store.js";

const GPU_SECONDS = 60; // to translate its programs; a graphics processor that takes longer is of no use
const PATIENCE = 50; // milliseconds of everything mode before it looks for other calls
const MOST_OPEN = 4; // photos that stay encoded, about 13 MB each

interface Adapter { info?: { isFallbackAdapter?: boolean } }
interface OpenPhoto { geometry: Geometry; prepared: PreparedImage; name: string }

const port = self as unknown as { postMessage(reply: Reply): void; onmessage: ((event: MessageEvent) => void) | null };
const photos = new Map<string, Promise<OpenPhoto>>();
const cancelled = new Set<number>(); // calls
let model: Promise<Model>;
let store: Promise<Store>;

/** The model with its encoder on the GPU, where that works, or else in WebAssembly alone. */
async function load(setup: Setup): Promise<Model> {
  if (await hasGpu(setup.gpu)) {
    try {
      return await loadWith("webgpu", setup, setup.gpu === "any" ? Infinity : GPU_SECONDS);
    } catch (error) {
      console.warn("The model does not run on the GPU, so it runs in WebAssembly:", error);
    }
  }
  return loadWith("wasm", setup, Infinity);
}

/** ONNX Runtime Web has a build for each; that with WebGPU is larger, so that only browsers that can use it load it. */
async function loadWith(device: Device, { site, threads }: Setup, patience: number): Promise<Model> {
  const ort = await import(new URL(`onnxruntime-web/ort.${device}.min.mjs`, site).href);
  ort.env.wasm.wasmPaths = new URL("onnxruntime-web/", site).href;
  ort.env.wasm.numThreads = threads;
  return Model.load(ort, new URL("model/", site), device, patience, (loading) => port.postMessage({ loading }));
}

/** Whether there is such a GPU. Where a processor emulates one, WebAssembly is faster. */
async function hasGpu(wanted: Setup["gpu"]): Promise<boolean> {
  if (wanted === "no") return false;
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && (wanted === "any" || !adapter!.info?.isFallbackAdapter);
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
    const cleaned = cleanLogits(chosen, geometry.side, config.min_mask_region_cells);
    return describe(binarise(cleaned, geometry, limits(prompt, geometry)), iou[mask]!);
  },

  async everything(call: number, id: string): Promise<Mask[]> {
    const { geometry, prepared } = await opened(id);
    return segmentEverything(interruptible((await model).decoder(prepared)), geometry, (done) => {
      if (cancelled.delete(call)) throw new Error("Stopped.");
      port.postMessage({ call, done });
    });
  },
};

/** A decoder that lets other calls, and their end, get through now and then: a run of a graph does not. */
function interruptible<P>(decoder: Decoder<P>): Decoder<P> {
  let last = performance.now();
  const pause = async () => {
    if (performance.now() - last < PATIENCE) return;
    await new Promise((done) => setTimeout(done));
    last = performance.now();
  };
  return {
    predictIou: (...given) => pause().then(() => decoder.predictIou(...given)),
    decodeMasks: (...given) => pause().then(() => decoder.decodeMasks(...given)),
  };
}

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
    ({ config, device }) => port.postMessage({ ready: { name: config.name, gpu: device === "webgpu", threads: setup.threads } }),
    (error: Error) => port.postMessage({ failed: error.message }),
  );
  port.onmessage = ({ data: request }: MessageEvent<Request>) => void answer(request);
};
