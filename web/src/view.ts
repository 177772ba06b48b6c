// The canvas: where the photo is on it, zoom and pan, and what a pointer does. `painter.ts` draws it.

import type { Box, Point, Polygons } from "./backend.js";
import { Painter, type Marks, type Shape } from "./painter.js";

export interface Gestures {
  /** A click on the photo; `adds` is false for the right button, and with Alt. */
  click(point: Point, adds: boolean): void;
  box(box: Box): void;
  /** A stroke of the brush, and its radius in pixels of the photo. */
  stroke(points: Point[], radius: number, adds: boolean): void;
  /** The mouse is at rest or moves over the photo, with no button down; null when it leaves. */
  hover(point: Point | null, adds: boolean): void;
}

const DRAG = 5; // CSS pixels; less is a click
const TOOLS = 66; // CSS pixels at the bottom that the tools hide
interface Drag { pointer: number; start: Point; kind: "box" | "pan" | "stroke"; adds: boolean; moved: boolean; last: Point; path: Point[] }

/** A line without the points that are nearer than `step` to the one before; its ends stay. At most 2000 points. */
function thinned(path: readonly Point[], step: number): Point[] {
  const kept: Point[] = [];
  path.forEach((point, i) => {
    const before = kept.at(-1);
    const far = !before || Math.hypot(point[0] - before[0], point[1] - before[1]) >= step;
    if (far || i === path.length - 1) kept.push(point.map((value) => Math.round(value * 100) / 100) as Point);
  });
  return kept.length > 2000 ? thinned(kept, 2 * step) : kept;
}

export class View {
  photo: ImageBitmap | null = null;
  shapes: Shape[] = [];
  preview: Shape | null = null;
  marks: Marks | null = null;
  /** The diameter of the brush in CSS pixels, when that is the tool. */
  brush: number | null = null;
  /** Where keys click, while the canvas has the keyboard. */
  cross: Point | null = null;
  panning = false; // the space bar is down
  private painter: Painter;
  private scale = 1;
  private origin: Point = [0, 0];
  private fitted = true;
  private drag: Drag | null = null;
  private rubber: Box | null = null;
  private touches = new Map<number, Point>();
  private pointer: Point | null = null; // CSS pixels of the canvas
  private frame = 0;

  constructor(private canvas: HTMLCanvasElement, private gestures: Gestures) {
    this.painter = new Painter(canvas.getContext("2d")!);
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), [event.offsetX, event.offsetY]);
    }, { passive: false });
  }

  show(photo: ImageBitmap | null): void {
    this.photo = photo;
    this.fit();
  }

  fit(): void {
    this.fitted = true;
    if (this.photo) {
      const { clientWidth: width, clientHeight: height } = this.canvas;
      const margin = Math.min(20, width / 30);
      const above = height - TOOLS;
      this.scale = Math.max(0.001, Math.min((width - 2 * margin) / this.photo.width, (above - 2 * margin) / this.photo.height));
      this.origin = [(width - this.scale * this.photo.width) / 2, (above - this.scale * this.photo.height) / 2];
    }
    this.redraw();
  }

  /** Zooms by a factor, and keeps the photo in place under `at` (CSS pixels of the canvas). */
  zoom(factor: number, at: Point = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]): void {
    const scale = Math.min(40, Math.max(0.02, this.scale * factor));
    const kept = scale / this.scale;
    this.origin = [at[0] - kept * (at[0] - this.origin[0]), at[1] - kept * (at[1] - this.origin[1])];
    this.scale = scale;
    this.fitted = false;
    this.redraw();
  }

  /** Radius of the brush in pixels of the photo. */
  get radius(): number { return (this.brush ?? 0) / 2 / this.scale; }

  /** Moves the photo so that a point of it can be seen. */
  reveal(point: Point): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const at = [this.origin[0] + this.scale * point[0], this.origin[1] + this.scale * point[1]] as const;
    const beyond = (place: number, most: number) => Math.min(0, most - 20 - place) + Math.max(0, 20 - place);
    const [x, y] = [beyond(at[0], width), beyond(at[1], height - TOOLS)];
    if (x || y) this.pan(x, y);
  }

  pan(x: number, y: number): void {
    this.origin = [this.origin[0] + x, this.origin[1] + y];
    this.fitted = false;
    this.redraw();
  }

  redraw(): void {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  /** Whether a point of the photo lies in a mask. */
  contains(polygons: Polygons, [x, y]: Point): boolean {
    return this.painter.contains(polygons, x, y);
  }

  /** Where a pixel of the photo is, in CSS pixels of the page. */
  toPage([x, y]: Point): Point {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [left + this.origin[0] + this.scale * x, top + this.origin[1] + this.scale * y];
  }

  private toPhoto(event: MouseEvent): Point {
    return [(event.offsetX - this.origin[0]) / this.scale, (event.offsetY - this.origin[1]) / this.scale];
  }

  private resize(): void {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.fitted) this.fit();
    else this.redraw();
  }

  private draw(): void {
    const { painter, drag } = this;
    painter.begin(this.scale, this.origin);
    if (!this.photo) return;
    painter.photo(this.photo);
    for (const shape of this.shapes) painter.shape(shape);
    if (this.preview) painter.shape(this.preview);
    if (this.marks) painter.marks(this.marks);
    if (drag?.kind === "stroke") painter.brushStroke(drag.path, this.radius, drag.adds);
    if (this.cross) painter.cross(this.cross);
    if (this.rubber) painter.box(this.rubber, true);
    if (this.brush && this.pointer) painter.brush(this.pointer, this.brush);
  }

  private down(event: PointerEvent): void {
    if (!this.photo) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at: Point = [event.offsetX, event.offsetY];
    if (event.pointerType === "touch") this.touches.set(event.pointerId, at);
    if (this.touches.size > 1) { // two fingers zoom and pan
      this.drag = null;
      this.rubber = null;
      this.redraw();
      return;
    }
    const pans = this.panning || event.button === 1;
    const adds = event.button !== 2 && !event.altKey;
    const start = this.toPhoto(event);
    const kind = pans ? "pan" : this.brush ? "stroke" : "box";
    this.drag = { pointer: event.pointerId, start, kind, adds, moved: false, last: at, path: [start] };
    if (kind !== "box") this.gestures.hover(null, adds);
    this.redraw();
  }

  private move(event: PointerEvent): void {
    const at: Point = [event.offsetX, event.offsetY];
    if (this.touches.size > 1) {
      this.pinch(event.pointerId, at);
      return;
    }
    const { drag } = this;
    if (!drag) this.hover(event, at);
    if (!drag || drag.pointer !== event.pointerId) return;
    if (drag.kind === "stroke") {
      this.pointer = event.pointerType === "touch" ? null : at;
      drag.path.push(...this.coalesced(event));
      this.redraw();
      return;
    }
    const [dx, dy] = [at[0] - drag.last[0], at[1] - drag.last[1]];
    if (!drag.moved && Math.hypot(dx, dy) < DRAG) return;
    if (!drag.moved) this.gestures.hover(null, drag.adds);
    drag.moved = true;
    if (drag.kind === "pan") {
      this.pan(dx, dy);
      drag.last = at;
    } else {
      this.rubber = this.boxTo(this.toPhoto(event));
      this.redraw();
    }
  }

  private up(event: PointerEvent): void {
    this.touches.delete(event.pointerId);
    const { drag, rubber } = this;
    if (!drag || drag.pointer !== event.pointerId) return;
    this.drag = null;
    this.rubber = null;
    this.redraw();
    if (drag.kind === "pan") return;
    if (drag.kind === "stroke") {
      this.gestures.stroke(thinned(drag.path, 0.5 / this.scale), this.radius, drag.adds);
    } else if (!drag.moved) {
      if (this.inPhoto(drag.start)) this.gestures.click(drag.start, drag.adds);
    } else if (rubber && rubber[2] - rubber[0] >= 1 && rubber[3] - rubber[1] >= 1) {
      this.gestures.box(rubber);
    }
  }

  private cancel(event: PointerEvent): void {
    this.touches.delete(event.pointerId);
    this.drag = null;
    this.rubber = null;
    this.redraw();
  }

  private hover(event: PointerEvent, at: Point): void {
    if (event.pointerType === "touch" || !this.photo) return;
    if (this.pointer && at[0] === this.pointer[0] && at[1] === this.pointer[1]) return; // as before each click
    this.pointer = at;
    if (this.brush) this.redraw();
    const point = this.toPhoto(event);
    this.gestures.hover(this.inPhoto(point) && !this.panning ? point : null, !event.altKey);
  }

  private leave(): void {
    this.pointer = null;
    this.gestures.hover(null, true);
    this.redraw();
  }

  /** All places since the last event, in pixels of the photo. */
  private coalesced(event: PointerEvent): Point[] {
    const all = event.getCoalescedEvents?.() ?? [];
    return (all.length ? all : [event]).map((one) => this.toPhoto(one));
  }

  /** Two fingers zoom by their distance, and move the photo with the point between them. */
  private pinch(pointer: number, at: Point): void {
    const before = this.touches.get(pointer);
    const other = [...this.touches].find(([id]) => id !== pointer)?.[1];
    if (!before || !other) return;
    const distance = (a: Point) => Math.max(1, Math.hypot(a[0] - other[0], a[1] - other[1]));
    this.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    this.zoom(distance(at) / distance(before), [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
    this.touches.set(pointer, at);
  }

  private boxTo([x, y]: Point): Box {
    const [sx, sy] = this.drag!.start;
    const { width, height } = this.photo!;
    const within = (value: number, most: number) => Math.min(most, Math.max(0, value));
    return [within(Math.min(sx, x), width), within(Math.min(sy, y), height), within(Math.max(sx, x), width), within(Math.max(sy, y), height)];
  }

  private inPhoto([x, y]: Point): boolean {
    return x >= 0 && y >= 0 && x < this.photo!.width && y < this.photo!.height;
  }
}
