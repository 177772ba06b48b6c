// What is drawn on the canvas: the photo, masks, clicks and boxes, the brush.
const paths = new WeakMap();
export function pathOf(polygons) {
    let path = paths.get(polygons);
    if (!path) {
        path = new Path2D();
        for (const ring of polygons.flat()) {
            ring.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
            path.closePath();
        }
        paths.set(polygons, path);
    }
    return path;
}
/** Draws in pixels of the photo; lines have widths in CSS pixels. */
export class Painter {
    context;
    scale = 1; // CSS pixels of a pixel of the photo
    constructor(context) {
        this.context = context;
    }
    /** Clears the canvas. scale, origin: where on it the photo lies, in CSS pixels. */
    begin(scale, [x, y]) {
        const { context } = this;
        const ratio = window.devicePixelRatio || 1;
        this.scale = scale;
        context.resetTransform();
        context.clearRect(0, 0, context.canvas.width, context.canvas.height);
        context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    }
    photo(photo) {
        const scale = this.scale * (window.devicePixelRatio || 1);
        this.context.imageSmoothingEnabled = scale < 4;
        this.context.imageSmoothingQuality = scale < 1 ? "high" : "low"; // which is as good, and faster
        this.context.drawImage(photo, 0, 0);
    }
    /** Whether a point of the photo lies in a mask. */
    contains(polygons, x, y) {
        const { context } = this;
        context.save();
        context.resetTransform();
        const inside = context.isPointInPath(pathOf(polygons), x, y, "evenodd");
        context.restore();
        return inside;
    }
    shape({ polygons, colour, strong, faint, dashed }) {
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
        if (strong)
            this.stroke(path, "#ffffff", 4);
        this.stroke(path, colour, 2);
        context.globalAlpha = 1;
    }
    marks({ points, labels, box }) {
        if (box)
            this.box(box, false);
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
            if (labels[i]) {
                sign.moveTo(x, y - arm);
                sign.lineTo(x, y + arm);
            }
            this.stroke(sign, "#ffffff", 1.5);
        });
    }
    box([x0, y0, x1, y1], dashed) {
        const path = new Path2D();
        path.rect(x0, y0, x1 - x0, y1 - y0);
        this.stroke(path, "#00000080", 3);
        if (dashed)
            this.dash(path, "#ffffff", 1.5);
        else
            this.stroke(path, "#ffffff", 1.5);
    }
    /** A stroke that is being painted, of a radius in pixels of the photo. */
    brushStroke(path, radius, adds) {
        const { context } = this;
        context.globalAlpha = 0.6;
        context.lineCap = context.lineJoin = "round";
        const line = new Path2D();
        path.forEach(([x, y]) => line.lineTo(x, y));
        line.lineTo(...path[0]);
        path.slice(1).reverse().forEach(([x, y]) => line.lineTo(x, y)); // so that a single point is a dot, too
        this.stroke(line, adds ? "#1eaa46" : "#e12d2d", 2 * radius * this.scale);
        context.globalAlpha = 1;
        context.lineCap = "butt";
    }
    /** The brush at a place, and of a diameter, in CSS pixels of the canvas. */
    brush([x, y], diameter) {
        const ratio = window.devicePixelRatio || 1;
        const circle = new Path2D();
        circle.arc(x, y, diameter / 2, 0, 2 * Math.PI);
        this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
        for (const [colour, width] of [["#000000a0", 3], ["#ffffff", 1.5]]) {
            this.context.strokeStyle = colour;
            this.context.lineWidth = width;
            this.context.stroke(circle);
        }
    }
    cross([x, y]) {
        const arm = 14 / this.scale;
        const path = new Path2D();
        path.moveTo(x - arm, y);
        path.lineTo(x + arm, y);
        path.moveTo(x, y - arm);
        path.lineTo(x, y + arm);
        this.stroke(path, "#000000", 4);
        this.stroke(path, "#ffffff", 2);
    }
    dash(path, colour, width) {
        this.context.setLineDash([6 / this.scale, 4 / this.scale]);
        this.stroke(path, colour, width);
        this.context.setLineDash([]);
    }
    /** A line of a width in CSS pixels. */
    stroke(path, colour, width) {
        this.context.strokeStyle = colour;
        this.context.lineWidth = width / this.scale;
        this.context.stroke(path);
    }
}
