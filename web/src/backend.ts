// What the page needs of the model and of the place where photos and annotations are: an HTTP server (http.ts), or
// another implementation of `Backend`. Coordinates are (x, y) in pixels of the upright photo.

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

/** A stroke of the brush: it adds to the mask, or erases from it, what is within a radius of its line. */
export interface Stroke { points: Point[]; radius: number; adds: boolean }

export interface SavedObject {
  rle: RunLengths;
  polygons: Polygons;
  name: string;
  predicted_iou: number;
  points: Point[];
  labels: number[];
  box: Box | null;
  /** Painted on the mask of the prompt, in their order; `rle` and `polygons` have them. */
  strokes: Stroke[];
  colour: string | null;
  visible: boolean;
}

/** The annotations of a photo. version: differs from that of any others. */
export interface Saved { objects: SavedObject[]; version: string }

export interface PhotoEntry { id: string; name: string }
export interface PhotoDetails extends PhotoEntry { width: number; height: number }
export interface ModelDetails { name: string; engine: string; version: string; formats: { suffixes: string[]; what: string }[] }
export interface Prompt { points: Point[]; labels: number[]; box: Box | null }

/** All methods reject with an error whose message is a line for the user. */
export interface Backend {
  /** The model and the formats for exports. */
  model(): Promise<ModelDetails>;
  /** The photos that can be opened, in their order. */
  photos(): Promise<PhotoEntry[]>;
  /** Adds a photo. */
  upload(file: File): Promise<PhotoEntry>;
  /** Encodes a photo, so that its masks come at once. */
  openPhoto(id: string): Promise<PhotoDetails>;
  /** The photo as the model gets it, upright, in a format that browsers show. */
  picture(id: string): Promise<Blob>;
  /** The annotations of a photo that were saved. */
  annotations(id: string): Promise<Saved>;
  /** Saves these annotations of a photo in the place of those of a version, and gives their own; null if others are saved by now. */
  save(id: string, objects: Omit<SavedObject, "polygons">[], replaces: string): Promise<string | null>;
  /** The mask of one object. */
  segment(id: string, prompt: Prompt): Promise<Mask>;
  /** The outlines of the mask of one object; null when the model is busy, as a preview does not wait. */
  preview(id: string, prompt: Prompt): Promise<Polygons | null>;
  /** The masks of all objects, without a prompt. report: gets the fraction that is done. signal: ends the work. */
  everything(id: string, report: (fraction: number) => void, signal: AbortSignal): Promise<Mask[]>;
  /** The saved annotations as a file of the format that the suffix means. */
  exportAs(id: string, suffix: string): Promise<File>;
  /** The same of all photos together, where the backend can do that. */
  exportAll?(suffix: string): Promise<File>;
}
