// The backend of the page of `pocketsam serve`: its HTTP API. /api/openapi.json describes it.

import type { Backend, Mask, ModelDetails, PhotoDetails, PhotoEntry, SavedObject } from "./backend.js";

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  const raw = body instanceof Blob;
  const response = await fetch(`/api/${path}`, {
    method,
    headers: body === undefined ? {} : { "Content-Type": raw ? "application/octet-stream" : "application/json" },
    body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
  }).catch(() => {
    throw new Error("The server does not answer. Is “pocketsam serve” still running?");
  });
  if (response.status === 429) {
    await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
    return call(method, path, body);
  }
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({ error: response.statusText }));
    throw new Error(error);
  }
  return response;
}

async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  return (await call(method, path, body)).json();
}

export const http: Backend = {
  model: () => json<ModelDetails>("GET", "model"),
  photos: () => json<PhotoEntry[]>("GET", "photos"),
  upload: (file) => json<PhotoEntry>("POST", `photos?name=${encodeURIComponent(file.name || "pasted.png")}`, file),
  openPhoto: (id) => json<PhotoDetails>("GET", `photos/${id}`),
  picture: async (id) => (await call("GET", `photos/${id}/image`)).blob(),
  annotations: async (id) => (await json<{ objects: SavedObject[] }>("GET", `photos/${id}/annotations`)).objects,
  save: async (id, objects) => {
    await call("PUT", `photos/${id}/annotations`, { objects });
  },
  segment: async (id, prompt) =>
    (await json<{ masks: Mask[] }>("POST", `photos/${id}/masks`, { objects: [prompt] })).masks[0]!,
  everything: async (id) => (await json<{ masks: Mask[] }>("POST", `photos/${id}/everything`, {})).masks,
  exportAs: async (id, suffix) => {
    const response = await call("GET", `photos/${id}/export?suffix=${encodeURIComponent(suffix)}`);
    const name = response.headers.get("Content-Disposition")?.split("''")[1] ?? `masks${suffix}`;
    return new File([await response.blob()], decodeURIComponent(name));
  },
};
