// The server's API, as the page uses it. /api/openapi.json describes it.

export type Point = [number, number];
export type Box = [number, number, number, number];
/** Of each part of a mask, its outer outline and then those of its holes. */
export type Polygons = Point[][][];
export interface RunLengths { size: [number, number]; counts: string }

export interface Mask {
  object: number;
  name: string;
  rle: RunLengths;
  polygons: Polygons;
  box: Box;
  area: number;
  predicted_iou: number;
  empty: boolean;
}

export interface SavedObject {
  rle: RunLengths;
  polygons: Polygons;
  name: string;
  predicted_iou: number;
  points: Point[];
  labels: number[];
  box: Box | null;
  colour: string | null;
  visible: boolean;
}

export interface PhotoEntry { id: string; name: string }
export interface PhotoDetails extends PhotoEntry { width: number; height: number }
export interface ModelDetails { name: string; engine: string; version: string; formats: { suffixes: string[]; what: string }[] }
export interface Prompt { points: Point[]; labels: number[]; box: Box | null }

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

export const model = () => json<ModelDetails>("GET", "model");
export const photos = () => json<PhotoEntry[]>("GET", "photos");
export const upload = (file: File) =>
  json<PhotoEntry>("POST", `photos?name=${encodeURIComponent(file.name || "pasted.png")}`, file);
export const openPhoto = (id: string) => json<PhotoDetails>("GET", `photos/${id}`);
export const picture = async (id: string) => (await call("GET", `photos/${id}/image`)).blob();
export const annotations = async (id: string) =>
  (await json<{ objects: SavedObject[] }>("GET", `photos/${id}/annotations`)).objects;
export const save = async (id: string, objects: Omit<SavedObject, "polygons">[]) => {
  await call("PUT", `photos/${id}/annotations`, { objects });
};
export const masks = async (id: string, prompt: Prompt) =>
  (await json<{ masks: Mask[] }>("POST", `photos/${id}/masks`, { objects: [prompt] })).masks[0]!;
export const everything = async (id: string) =>
  (await json<{ masks: Mask[] }>("POST", `photos/${id}/everything`, {})).masks;
export const exported = async (id: string, suffix: string) => {
  const response = await call("GET", `photos/${id}/export?suffix=${encodeURIComponent(suffix)}`);
  const name = response.headers.get("Content-Disposition")?.split("''")[1] ?? `masks${suffix}`;
  return new File([await response.blob()], decodeURIComponent(name));
};
