// Which points of a grid everything mode prompts, and in which order: see pocketsam/automatic/schedule.py.

import type { Point } from "../backend.js";
import type { Geometry } from "./geometry.js";

const STRIDES = [4, 2, 1]; // every fourth point a side of the grid, then every second, then all

/** The centres of side × side equal cells of the photo, row by row. */
export function pointGrid(side: number, width: number, height: number): Point[] {
  return Array.from({ length: side * side }, (_, i): Point =>
    [((i % side) + 0.5) / side * width, (Math.floor(i / side) + 0.5) / side * height]);
}

/** The points that are prompted, batch by batch, as what was found so far decides. */
export class Schedule {
  /** The part of the grid that was gone through before this batch, from 0 to 1. */
  done = 0;
  /** The same after this batch. */
  next = 0;
  private side: number;
  private cells: number[];
  private certain: Uint8Array;
  private promising: boolean[];
  private prompted: boolean[];
  private strides: number[];

  /** points: of a square grid, row by row, in pixels of the photo. */
  constructor(readonly points: Point[], geometry: Geometry) {
    this.side = Math.sqrt(points.length);
    const last = geometry.side - 1;
    const cell = (value: number) => Math.min(Math.floor(value / 4), last);
    this.cells = points.map((point) => {
      const [x, y] = geometry.toModel(point).map(Math.fround) as Point;
      return cell(y) * geometry.side + cell(x);
    });
    this.certain = new Uint8Array(geometry.side ** 2);
    this.promising = points.map(() => false);
    this.prompted = points.map(() => false);
    this.strides = this.side >= STRIDES[0]! ? STRIDES : [1];
  }

  /** The numbers of the next points, at most `size` at a time. `note` what each batch found. */
  *batches(size: number): Generator<number[]> {
    for (const stride of this.strides) {
      const due = this.due(stride);
      const before = this.next, after = 1 / stride ** 2;
      for (let start = 0; start < due.length; start += size) {
        this.done = this.next;
        this.next = before + (after - before) * Math.min(1, (start + size) / due.length);
        yield due.slice(start, start + size);
      }
      for (const i of due) this.prompted[i] = true;
    }
  }

  /** What a batch found: which of its points found a mask, or nearly did; and which cells of masks are certain. */
  note(promising: number[], certain: Uint8Array): void {
    for (const i of promising) this.promising[i] = true;
    certain.forEach((is, cell) => { if (is) this.certain[cell] = 1; });
  }

  private due(stride: number): number[] {
    const waiting = this.points.flatMap((_, i) => (this.prompted[i] ? [] : [i]));
    if (this.strides.length === 1) return waiting;
    const certain = (i: number) => this.certain[this.cells[i]!] === 1;
    const found = this.points.map((_, i) => this.promising[i]! || certain(i));
    return waiting.filter((i) => {
      const x = i % this.side, y = Math.floor(i / this.side);
      const onStride = x % stride === 1 % stride && y % stride === 1 % stride;
      return onStride && !certain(i) && (stride > 1 || this.near(found, x, y));
    });
  }

  /** Whether a point is, or has among its eight neighbours, one of these. */
  private near(points: boolean[], x: number, y: number): boolean {
    for (let row = Math.max(0, y - 1); row <= Math.min(this.side - 1, y + 1); row++) {
      for (let column = Math.max(0, x - 1); column <= Math.min(this.side - 1, x + 1); column++) {
        if (points[row * this.side + column]) return true;
      }
    }
    return false;
  }
}
