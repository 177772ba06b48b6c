// The canvas: the photo with its masks, zoom and pan, and what a pointer does on it.

import type { Box, Point, Polygons } from "./backend.js";

/** A mask. strong: it is the active one. faint: others count now. dashed: a preview, which is an outline alone. */
export interface Shape { polygons: Polygons; colour: string; strong?: boolean; faint?: boolean; dashed?: boolean }
export interface Marks { points: Point[]; labels: number[]; box: Box | null }
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
const paths = new WeakMap<Polygons, Path2D>();

export function pathOf(polygons: Polygons): Path2D {
  let path = paths.get(polygons);
  if (!path) {
    path = new Path2D();
    for (const ring of polygons.flat()) {
      ring.forEach(([x, y], i) => (i ? path!.lineTo(x, y) : path!.moveTo(x, y)));
      path.closePath();
    }
    paths.set(polygons, path);
  }
  return path;
}

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
  private context: CanvasRenderingContext2D;
  private scale = 1;
  private origin: Point = [0, 0];
  private fitted = true;
  private drag: Drag | null = null;
  private rubber: Box | null = null;
  private touches = new Map<number, Point>();
  private pointer: Point | null = null; // CSS pixels of the canvas
  private frame = 0;

  constructor(private canvas: HTMLCanvasElement, private gestures: Gestures) {
    this.context = canvas.getContext("2d")!;
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
    this.context.save();
    this.context.resetTransform();
    const inside = this.context.isPointInPath(pathOf(polygons), x, y, "evenodd");
    this.context.restore();
    return inside;
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
    const { context, photo } = this;
    const ratio = window.devicePixelRatio || 1;
    context.resetTransform();
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!photo) return;
    context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.origin[0], ratio * this.origin[1]);
    context.imageSmoothingEnabled = this.scale * ratio < 4;
    context.imageSmoothingQuality = this.scale * ratio < 1 ? "high" : "low"; // which is as good, and faster
    context.drawImage(photo, 0, 0);
    for (const shape of this.shapes) this.drawShape(shape);
    if (this.preview) this.drawShape(this.preview);
    if (this.marks) this.drawMarks(this.marks);
    if (this.drag?.kind === "stroke") this.drawStroke(this.drag);
    if (this.cross) this.drawCross(this.cross);
    if (this.rubber) this.drawBox(this.rubber, true);
    if (this.brush && this.pointer) this.drawBrush(this.pointer, this.brush);
  }

  private drawShape({ polygons, colour, strong, faint, dashed }: Shape): void {
    const { context } = this;
    const path = pathOf(polygons);
    if (dashed) {
      context.globalAlpha = 0.2;
      context.fillStyle = colour;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
      this.stroke(path, "#000000a0", 3);
      this.dash(path, "#ffffff", 2);
      return;
    }
    context.globalAlpha = faint ? 0.12 : strong ? 0.5 : 0.4;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    context.globalAlpha = faint ? 0.5 : 1;
    context.lineJoin = "round";
    if (strong) this.stroke(path, "#ffffff", 4);
    this.stroke(path, colour, 2);
    context.globalAlpha = 1;
  }

  private drawMarks({ points, labels, box }: Marks): void {
    if (box) this.drawBox(box, false);
    points.forEach(([x, y], i) => {
      const mark = new Path2D();
      mark.arc(x, y, 6 / this.scale, 0, 2 * Math.PI);
      this.context.fillStyle = labels[i] ? "#1eaa46" : "#e12d2d";
      this.context.fill(mark);
      this.stroke(mark, "#ffffff", 2);
      const sign = new Path2D(); // not by colour alone: + adds, − removes
      const arm = 3 / this.scale;
      sign.moveTo(x - arm, y);
      sign.lineTo(x + arm, y);
      if (labels[i]) { sign.moveTo(x, y - arm); sign.lineTo(x, y + arm); }
      this.stroke(sign, "#ffffff", 1.5);
    });
  }

  private drawBox([x0, y0, x1, y1]: Box, dashed: boolean): void {
    const path = new Path2D();
    path.rect(x0, y0, x1 - x0, y1 - y0);
    this.stroke(path, "#00000080", 3);
    if (dashed) this.dash(path, "#ffffff", 1.5);
    else this.stroke(path, "#ffffff", 1.5);
  }

  private drawStroke({ path, adds }: Drag): void {
    const { context } = this;
    context.globalAlpha = 0.6;
    context.lineCap = context.lineJoin = "round";
    const line = new Path2D();
    path.forEach(([x, y]) => line.lineTo(x, y));
    line.lineTo(...path[0]!);
    path.slice(1).reverse().forEach(([x, y]) => line.lineTo(x, y)); // so that a single point is a dot, too
    this.stroke(line, adds ? "#1eaa46" : "#e12d2d", 2 * this.radius * this.scale);
    context.globalAlpha = 1;
    context.lineCap = "butt";
  }

  private drawBrush([x, y]: Point, diameter: number): void {
    const ratio = window.devicePixelRatio || 1;
    const circle = new Path2D();
    circle.arc(x, y, diameter / 2, 0, 2 * Math.PI);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const [colour, width] of [["#000000a0", 3], ["#ffffff", 1.5]] as const) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = width;
      this.context.stroke(circle);
    }
  }

  private drawCross([x, y]: Point): void {
    const arm = 14 / this.scale;
    const path = new Path2D();
    path.moveTo(x - arm, y);
    path.lineTo(x + arm, y);
    path.moveTo(x, y - arm);
    path.lineTo(x, y + arm);
    this.stroke(path, "#000000", 4);
    this.stroke(path, "#ffffff", 2);
  }

  private dash(path: Path2D, colour: string, width: number): void {
    this.context.setLineDash([6 / this.scale, 4 / this.scale]);
    this.stroke(path, colour, width);
    this.context.setLineDash([]);
  }

  /** A line of a width in CSS pixels. */
  private stroke(path: Path2D, colour: string, width: number): void {
    this.context.strokeStyle = colour;
    this.context.lineWidth = width / this.scale;
    this.context.stroke(path);
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
