// The backend of the page of `pocketsam serve`: its HTTP API. /api/ describes it.

import type { Backend, Mask, ModelDetails, PhotoDetails, PhotoEntry, Prompt, Saved, SavedObject } from "./backend.js";

const BUSY = [429, 503];
const CHANGED = 412;

interface Content { body?: unknown; signal?: AbortSignal; headers?: Record<string, string> }

class Refused extends Error {
  constructor(readonly status: number, line: string) { super(line); }
}

async function send(method: string, path: string, { body, signal, headers = {} }: Content = {}): Promise<Response> {
  const raw = body instanceof Blob;
  const type: Record<string, string> =
    body === undefined ? {} : { "Content-Type": raw ? "application/octet-stream" : "application/json" };
  return fetch(`/api/${path}`, {
    method,
    headers: { ...type, ...headers },
    body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    signal,
  }).catch((error) => {
    if (signal?.aborted) throw error;
    throw new Error("The server does not answer. Is “pocketsam serve” still running?");
  });
}

/** The response; a request that comes while the server is busy is sent again when it says. */
async function call(method: string, path: string, content: Content = {}): Promise<Response> {
  const response = await send(method, path, content);
  if (BUSY.includes(response.status)) {
    await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
    return call(method, path, content);
  }
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({ error: response.statusText }));
    throw new Refused(response.status, error);
  }
  return response;
}

async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  return (await call(method, path, { body })).json();
}

/** The server-sent events of a response, each with its name and its data. */
async function* events(response: Response): AsyncGenerator<[string, any]> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    const blocks = text.split("\n\n");
    text = blocks.pop()!;
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      yield [fields.get("event")!, JSON.parse(fields.get("data")!)];
    }
  }
}

async function everything(id: string, report: (fraction: number) => void, signal: AbortSignal): Promise<Mask[]> {
  for await (const [name, data] of events(await call("POST", `photos/${id}/everything/events`, { body: {}, signal }))) {
    if (name === "progress") report(data.fraction);
    if (name === "error") throw new Error(data.error);
    if (name === "masks") return data.masks;
  }
  throw new Error("The server stopped before all objects were found; try again.");
}

async function preview(id: string, prompt: Prompt) {
  const body = { objects: [prompt], include: ["polygons"], preview: true };
  const response = await send("POST", `photos/${id}/masks`, { body });
  if (!response.ok) return null;
  return ((await response.json()) as { masks: Mask[] }).masks[0]!.polygons;
}

async function file(path: string, suffix: string): Promise<File> {
  const response = await call("GET", `${path}?suffix=${encodeURIComponent(suffix)}`);
  const name = response.headers.get("Content-Disposition")?.split("''")[1] ?? `masks${suffix}`;
  return new File([await response.blob()], decodeURIComponent(name));
}

async function annotations(id: string): Promise<Saved> {
  const response = await call("GET", `photos/${id}/annotations`);
  const { objects } = (await response.json()) as { objects: SavedObject[] };
  return { objects, version: response.headers.get("ETag")! };
}

async function save(id: string, objects: Omit<SavedObject, "polygons">[], replaces: string): Promise<string | null> {
  try {
    const content = { body: { objects }, headers: { "If-Match": replaces } };
    return (await call("PUT", `photos/${id}/annotations`, content)).headers.get("ETag")!;
  } catch (error) {
    if (error instanceof Refused && error.status === CHANGED) return null;
    throw error;
  }
}

export const http: Backend = {
  model: () => json<ModelDetails>("GET", "model"),
  photos: () => json<PhotoEntry[]>("GET", "photos"),
  upload: (file) => json<PhotoEntry>("POST", `photos?name=${encodeURIComponent(file.name || "pasted.png")}`, file),
  openPhoto: (id) => json<PhotoDetails>("GET", `photos/${id}`),
  picture: async (id) => (await call("GET", `photos/${id}/image`)).blob(),
  annotations,
  save,
  segment: async (id, prompt) => {
    const body = { objects: [prompt], zoom: true, refine: true }; // a preview has no time for these
    return (await json<{ masks: Mask[] }>("POST", `photos/${id}/masks`, body)).masks[0]!;
  },
  preview,
  everything,
  exportAs: (id, suffix) => file(`photos/${id}/export`, suffix),
  exportAll: (suffix) => file("export", suffix),
};
