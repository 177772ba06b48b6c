// Pixels of the photo and pixels of the model, the way there and the way back: pocketsam/predict/geometry.py explains it.

import type { Point } from "../backend.js";
import type { ModelConfig } from "./config.js";
import { compose, cubic, linear, resizeAntialiased, resizePlain, type Axis, type Pixels } from "./resample.js";

/** A part of the photo; x1 and y1 are outside. */
export interface Region { x0: number; y0: number; x1: number; y1: number }

export class Geometry {
  /** Of the photo inside the model's square, in model pixels. */
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  /** The side of the decoder's logits. */
  readonly side: number;
  private axes: { down: Axis; across: Axis } | null = null;

  constructor(readonly config: ModelConfig, readonly width: number, readonly height: number) {
    const size = config.image_size;
    const scale = size / Math.max(width, height);
    const inside = (length: number) => (config.resize === "squash" ? size : Math.max(1, Math.floor(length * scale + 0.5)));
    this.resizedWidth = inside(width);
    this.resizedHeight = inside(height);
    this.side = size / 4;
  }

  /** The columns and rows of the logits in which there is something of the photo. */
  get cells(): [columns: number, rows: number] {
    return [Math.ceil(this.resizedWidth / 4), Math.ceil(this.resizedHeight / 4)];
  }

  toModel([x, y]: Point): Point {
    return [x * (this.resizedWidth / this.width), y * (this.resizedHeight / this.height)];
  }

  /** The encoder's input (1, 3, S, S): the photo resized, normalised, then padded with zeros. */
  preprocess(photo: Pixels): Float32Array {
    const { config, resizedWidth: width, resizedHeight: height } = this;
    const size = config.image_size;
    const resize = config.resampling === "plain" ? resizePlain : resizeAntialiased;
    const resized = resize(photo, width, height);
    const result = new Float32Array(3 * size * size);
    for (let channel = 0; channel < 3; channel++) {
      const mean = config.mean[channel]!, std = config.std[channel]!;
      for (let y = 0; y < height; y++) {
        const row = (channel * size + y) * size;
        for (let x = 0; x < width; x++) result[row + x] = (resized[3 * (y * width + x) + channel]! - mean) / std;
      }
    }
    return result;
  }

  /** The part of the photo that can be above `least`, given a mask's logits (h, w); null where there is none. */
  region(logits: Float32Array, least: number): Region | null {
    const { width, height, side } = this;
    if (this.config.resampling === "plain") return { x0: 0, y0: 0, x1: width, y1: height }; // bicubic: anything may overshoot
    let left = side, right = -1, top = side, bottom = -1;
    for (let y = 0, i = 0; y < side; y++) {
      for (let x = 0; x < side; x++, i++) {
        if (logits[i]! <= least) continue;
        if (x < left) left = x;
        if (x > right) right = x;
        if (y < top) top = y;
        bottom = y;
      }
    }
    const { down, across } = this.upsampling;
    const [x0, x1] = reached(across, left, right), [y0, y1] = reached(down, top, bottom);
    return x0 < x1 && y0 < y1 ? { x0, y0, x1, y1 } : null;
  }

  /** A mask's logits (h, w) at the photo's resolution, column by column of a region. `values` is used again. */
  upsample(logits: Float32Array, region: Region, visit: (x: number, values: Float32Array) => void): void {
    const { down, across } = this.upsampling;
    const { side } = this;
    const { x0, x1, y0, y1 } = region;
    const tall = new Map<number, Float32Array>(); // columns of cells, at the photo's height
    const enlarged = (column: number): Float32Array => {
      let values = tall.get(column);
      if (values) return values;
      values = new Float32Array(y1 - y0);
      for (let y = y0; y < y1; y++) {
        let sum = 0;
        for (let k = 0, at = down.first[y]! * side + column; k < down.taps; k++, at += side) {
          sum += down.weights[y * down.taps + k]! * logits[at]!;
        }
        values[y - y0] = sum;
      }
      tall.set(column, values);
      tall.delete(column - across.taps - 1); // is not needed any more
      return values;
    };
    const values = new Float32Array(y1 - y0);
    for (let x = x0; x < x1; x++) {
      values.fill(0);
      for (let k = 0; k < across.taps; k++) {
        const weight = across.weights[x * across.taps + k]!;
        if (!weight) continue;
        const column = enlarged(across.first[x]! + k);
        for (let y = 0; y < values.length; y++) values[y]! += weight * column[y]!;
      }
      visit(x, values);
    }
  }

  /** How much of each cell is in each row and in each column of the photo. */
  private get upsampling(): { down: Axis; across: Axis } {
    if (this.axes) return this.axes;
    const { side, config } = this;
    const enlarged = linear(side, config.image_size);
    const along = (inside: number, pixels: number) =>
      config.resampling === "plain" ? cubic(side, pixels) : compose(enlarged, linear(inside, pixels), side);
    this.axes = { down: along(this.resizedHeight, this.height), across: along(this.resizedWidth, this.width) };
    return this.axes;
  }
}

/** The outputs of an axis that mix any of the inputs from `first` to `last`. */
function reached({ taps, first, weights }: Axis, from: number, to: number): [start: number, stop: number] {
  const mixes = (i: number) => {
    for (let k = 0; k < taps; k++) {
      const input = first[i]! + k;
      if (weights[i * taps + k]! > 0 && input >= from && input <= to) return true;
    }
    return false;
  };
  let start = 0, stop = first.length;
  while (start < stop && !mixes(start)) start++;
  while (stop > start && !mixes(stop - 1)) stop--;
  return [start, stop];
}
