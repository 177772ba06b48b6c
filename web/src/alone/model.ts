// The model's graphs, run by ONNX Runtime Web. pocketsam/graphs.py is their contract, engines/onnx.py chains them too.

import type * as Ort from "onnxruntime-web";
import type { ModelConfig } from "./config.js";
import type { Decoder } from "./everything.js";
import type { Tokens } from "./prompts.js";

type Tensors = Record<string, Ort.Tensor>;

const GRAPHS = ["encoder", "decoder_prepare", "decoder_predict_iou", "decoder_masks"] as const;
type Graph = (typeof GRAPHS)[number];
const TILE = 8; // prompts that are computed together, where there are many
const MASK_INPUTS = ["hypernetwork_weights", "cell_scale", "cell_coefficients", "cell_basis"];

/** What the decoder needs of a photo. */
export type PreparedImage = Tensors;

/** What runs the encoder. The decoder's graphs are small, and are fed anew for each click: they run in WebAssembly. */
export type Device = "webgpu" | "wasm";

export interface Progress { loaded: number; total: number }

export class Model {
  private turn: Promise<unknown> = Promise.resolve();
  private tile: Promise<Ort.InferenceSession> | null = null;

  private constructor(
    private ort: typeof Ort,
    readonly config: ModelConfig,
    readonly device: Device,
    private sessions: Record<Graph, Ort.InferenceSession>,
    private predictIouFile: Uint8Array,
  ) {}

  /** The model in a folder, which may take so many seconds to start. `report` gets the bytes that have come. */
  static async load(
    ort: typeof Ort, folder: URL, device: Device, patience: number, report: (progress: Progress) => void,
  ): Promise<Model> {
    const progress = GRAPHS.map(() => ({ loaded: 0, total: 0 }));
    const sum = (key: keyof Progress) => progress.reduce((all, one) => all + one[key], 0);
    const files = await Promise.all(GRAPHS.map((name, i) =>
      download(new URL(`${name}.onnx`, folder), (one) => {
        progress[i] = one;
        report({ loaded: sum("loaded"), total: sum("total") });
      })));
    const { config } = await (await fetchFile(new URL("model.json", folder))).json();
    return within(patience, Model.start(ort, config, device, files));
  }

  private static async start(ort: typeof Ort, config: ModelConfig, device: Device, files: Uint8Array[]): Promise<Model> {
    const sessions: Partial<Record<Graph, Ort.InferenceSession>> = {};
    for (const [i, name] of GRAPHS.entries()) { // one by one: memory
      sessions[name] = await open(ort, files[i]!, 1, name === "encoder" ? device : "wasm");
    }
    const model = new Model(ort, config, device, sessions as Record<Graph, Ort.InferenceSession>, files[2]!);
    if (device === "webgpu") await model.warmUp();
    return model;
  }

  /** Has the GPU translate its programs before the first photo. Throws where it cannot run them. */
  private async warmUp(): Promise<void> {
    const { image_size: size } = this.config;
    const image = new this.ort.Tensor("float32", new Float32Array(3 * size * size), [1, 3, size, size]);
    const { image_embeddings } = await this.run(this.sessions.encoder, { image });
    if (!(image_embeddings!.data as Float32Array).every(Number.isFinite)) throw new Error("its numbers are not finite");
  }

  /** An image (1, 3, S, S) to what the decoder needs of it. */
  async prepare(image: Float32Array): Promise<PreparedImage> {
    const { image_size: size } = this.config;
    const { ort } = this;
    const { image_embeddings } = await this.run(this.sessions.encoder, {
      image: new ort.Tensor("float32", image, [1, 3, size, size]),
    });
    return this.run(this.sessions.decoder_prepare, {
      image_embeddings: image_embeddings!,
      mask_input: new ort.Tensor("float32", new Float32Array((size / 4) ** 2), [1, 1, size / 4, size / 4]),
      has_mask_input: new ort.Tensor("float32", new Float32Array(1), [1]),
    });
  }

  /** The predicted IoU (4) and the logits (4, S/4, S/4) of one object's masks. */
  async segment(prepared: PreparedImage, { points, labels }: Tokens): Promise<{ iou: Float32Array; logits: Float32Array }> {
    const prediction = await this.run(this.sessions.decoder_predict_iou, this.prompts(prepared, points, labels, 1));
    const logits = await this.decodeMasks(prepared, prediction);
    return { iou: prediction.iou_predictions!.data as Float32Array, logits };
  }

  /** For everything mode. */
  decoder(prepared: PreparedImage): Decoder<Tensors> {
    return {
      predictIou: (points, labels, objects) => this.predictIou(prepared, points, labels, objects),
      decodeMasks: (prediction) => this.decodeMasks(prepared, prediction),
    };
  }

  private async predictIou(
    prepared: PreparedImage, points: Float32Array, labels: Int32Array, objects: number,
  ): Promise<{ iou: Float32Array; objects: Tensors[] }> {
    const session = await (this.tile ??= open(this.ort, this.predictIouFile, TILE, "wasm"));
    const iou = new Float32Array(4 * objects);
    const rows: Tensors[] = [];
    const length = labels.length / objects;
    for (let start = 0; start < objects; start += TILE) {
      const tile = { points: new Float32Array(2 * length * TILE), labels: new Int32Array(length * TILE).fill(-1) };
      tile.points.set(points.subarray(2 * length * start, 2 * length * (start + TILE)));
      tile.labels.set(labels.subarray(length * start, length * (start + TILE)));
      const found = await this.run(session, this.prompts(prepared, tile.points, tile.labels, TILE));
      const count = Math.min(TILE, objects - start);
      iou.set((found.iou_predictions!.data as Float32Array).subarray(0, 4 * count), 4 * start);
      for (let i = 0; i < count; i++) rows.push(this.row(found, i));
    }
    return { iou, objects: rows };
  }

  /** What the masks of object i need. */
  private row(found: Tensors, i: number): Tensors {
    return Object.fromEntries(MASK_INPUTS.map((name) => {
      const { data, dims } = found[name]!;
      const size = data.length / dims[0]!;
      const part = (data as Float32Array).subarray(i * size, (i + 1) * size);
      return [name, new this.ort.Tensor("float32", part, [1, ...dims.slice(1)])];
    }));
  }

  private async decodeMasks(prepared: PreparedImage, prediction: Tensors): Promise<Float32Array> {
    const { low_res_masks } = await this.run(this.sessions.decoder_masks, { ...prepared, ...prediction });
    return low_res_masks!.data as Float32Array;
  }

  private prompts(prepared: PreparedImage, points: Float32Array, labels: Int32Array, objects: number): Tensors {
    const { ort } = this;
    const length = labels.length / objects;
    return {
      ...prepared,
      point_coords: new ort.Tensor("float32", points, [objects, length, 2]),
      point_labels: new ort.Tensor("int32", labels, [objects, length]),
      sparse_embeddings: new ort.Tensor("float32", new Float32Array(), [objects, 0, 256]),
    };
  }

  /** Runs a graph on those of the tensors that it takes, when no other runs. */
  private run(session: Ort.InferenceSession, tensors: Tensors): Promise<Tensors> {
    const feeds = Object.fromEntries(session.inputNames.map((name) => [name, tensors[name]!]));
    const result = this.turn.then(() => session.run(feeds));
    this.turn = result.catch(() => {});
    return result as Promise<Tensors>;
  }
}

/** A session for a number of objects, with which nearly all shapes are known. */
function open(ort: typeof Ort, file: Uint8Array, objects: number, device: Device): Promise<Ort.InferenceSession> {
  return ort.InferenceSession.create(file, {
    executionProviders: [device],
    freeDimensionOverrides: { objects },
    logSeverityLevel: 3,
  });
}

/** The result of work that may take so many seconds. */
function within<T>(seconds: number, work: Promise<T>): Promise<T> {
  if (seconds === Infinity) return work;
  const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error(`it takes more than ${seconds} s`)), 1000 * seconds));
  return Promise.race([work, late]);
}

async function fetchFile(url: URL): Promise<Response> {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new Error(`The model cannot be loaded: ${url.pathname.split("/").at(-1)} does not come. Check the connection and reload the page.`);
  return response;
}

async function download(url: URL, report: (progress: Progress) => void): Promise<Uint8Array> {
  const response = await fetchFile(url);
  const total = Number(response.headers.get("Content-Length") ?? 0);
  const pieces: Uint8Array[] = [];
  let loaded = 0;
  for (const reader = response.body!.getReader();;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    loaded += value.length;
    report({ loaded, total: Math.max(total, loaded) });
  }
  const file = new Uint8Array(loaded);
  let at = 0;
  for (const piece of pieces) {
    file.set(piece, at);
    at += piece.length;
  }
  return file;
}
