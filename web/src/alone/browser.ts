// The backend that needs no server: a worker with the model, and the photos and annotations in this browser.

import type { Backend, Mask, ModelDetails, PhotoDetails, PhotoEntry, Polygons, Prompt, Saved } from "../backend.js";
import { FORMATS, exported } from "./formats.js";
import type { Ready, Reply, Request, Setup, Work } from "./messages.js";
import type { Progress } from "./model.js";
import { outlinesOf } from "./masks.js";
import { decode } from "./photo.js";
import { type Annotation, Store, versionOf } from "./store.js";

interface Waiting { resolve(result: unknown): void; reject(error: Error): void; done?(part: number): void }

/** What becomes of the model. */
export interface Events { loading(progress: Progress): void; ready(ready: Ready): void; failed(line: string): void }

export class BrowserBackend implements Backend {
  private worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  private calls = 0;
  private waiting = new Map<number, Waiting>();

  private constructor(private site: URL, readonly store: Store, private events: Events) {}

  static async start(site: URL, setup: Omit<Setup, "site">, events: Events): Promise<BrowserBackend> {
    const backend = new BrowserBackend(site, await Store.open(site), events);
    backend.worker.onmessage = ({ data }: MessageEvent<Reply>) => backend.receive(data);
    backend.worker.postMessage({ site: site.href, ...setup } satisfies Setup);
    return backend;
  }

  async model(): Promise<ModelDetails> {
    const { config } = await (await fetch(new URL("model/model.json", this.site))).json();
    return { name: config.name, engine: "ONNX Runtime Web", version: "", formats: FORMATS };
  }

  async photos(): Promise<PhotoEntry[]> {
    return (await this.store.photos()).map(({ id, name }) => ({ id, name }));
  }

  async upload(file: File): Promise<PhotoEntry> {
    const name = file.name || "pasted.png";
    (await decode(file, name)).close();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
    const id = [...digest.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    await this.store.add({ id, name }, file);
    void navigator.storage?.persist?.(); // or the browser may remove them when it needs room
    return { id, name };
  }

  openPhoto(id: string): Promise<PhotoDetails> { return this.call("open", [id]); }

  async picture(id: string): Promise<Blob> { return (await this.store.photo(id)).file; }

  async annotations(id: string): Promise<Saved> {
    const saved = await this.store.annotations(id);
    return { objects: saved.map((one) => ({ ...one, polygons: outlinesOf(one.rle) })), version: versionOf(saved) };
  }

  async save(id: string, objects: Annotation[], replaces: string): Promise<string | null> {
    return (await this.store.save(id, objects, replaces)) ? versionOf(objects) : null;
  }

  segment(id: string, prompt: Prompt): Promise<Mask> { return this.call("segment", [id, prompt]); }

  async preview(id: string, prompt: Prompt): Promise<Polygons | null> {
    return this.waiting.size ? null : (await this.segment(id, prompt)).polygons;
  }

  async everything(id: string, report: (fraction: number) => void, signal: AbortSignal): Promise<Mask[]> {
    const call = this.calls + 1;
    signal.addEventListener("abort", () => this.worker.postMessage({ cancel: call } satisfies Request));
    try {
      return await this.call("everything", [id], report);
    } finally {
      signal.throwIfAborted();
    }
  }

  async exportAs(id: string, suffix: string): Promise<File> {
    return exported(await this.store.photo(id), await this.store.annotations(id), suffix);
  }

  /** Calls a method of the worker; its time is a performance entry of the page. */
  private async call<M extends keyof Work>(method: M, given: Parameters<Work[M]>, done?: (part: number) => void): Promise<ReturnType<Work[M]>> {
    const call = ++this.calls;
    const start = performance.now();
    const result = await new Promise((resolve, reject) => {
      this.waiting.set(call, { resolve, reject, done });
      this.worker.postMessage({ call, method, arguments: given } as Request);
    });
    performance.measure(`pocketsam ${method}`, { start });
    return result as ReturnType<Work[M]>;
  }

  private receive(reply: Reply): void {
    if ("loading" in reply) this.events.loading(reply.loading);
    else if ("ready" in reply) this.events.ready(reply.ready);
    else if ("failed" in reply) this.events.failed(reply.failed);
    else if ("done" in reply) this.waiting.get(reply.call)?.done?.(reply.done);
    else {
      const waiting = this.waiting.get(reply.call);
      this.waiting.delete(reply.call);
      if ("error" in reply) waiting?.reject(new Error(reply.error));
      else waiting?.resolve(reply.result);
    }
  }
}
