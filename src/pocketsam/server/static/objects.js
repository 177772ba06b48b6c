// The objects of one photo, their history, and saving them. Objects never change; a change makes new ones.
import { painted } from "./strokes.js";
// pocketsam's overlays use the same colours
export const COLOURS = ["#0a84ff", "#ff9500", "#30d158", "#ff375f", "#bf5af2", "#ffd60a", "#64d2ff", "#ac8e68"];
let keys = 0;
export function newObject(count, name) {
    const colour = COLOURS[count % COLOURS.length];
    return { key: ++keys, name, colour, visible: true, points: [], labels: [], box: null, strokes: [], mask: null };
}
export function fromMask(mask, count) {
    return { ...newObject(count, mask.name), mask: maskOf(mask) };
}
export function maskOf(mask) {
    return { rle: mask.rle, polygons: mask.polygons, predictedIou: mask.predicted_iou };
}
function withStrokes(mask, strokes) {
    const [height, width] = mask.rle.size;
    return strokes.length ? { ...mask, ...painted(mask.rle, strokes, width, height) } : mask;
}
/** The object with one more stroke, in a photo of width × height pixels. */
export function addStroke(object, stroke, width, height) {
    const mask = painted(object.mask?.rle ?? null, [stroke], width, height);
    return { ...object, strokes: [...object.strokes, stroke], mask: { predictedIou: object.mask?.predictedIou ?? 0, ...mask } };
}
/** The objects of a photo. `changed` is called after each change. */
export class Objects {
    changed;
    past = [];
    future = [];
    now = { objects: [], active: null };
    constructor(changed) {
        this.changed = changed;
    }
    get all() { return this.now.objects; }
    get active() { return this.all.find((one) => one.key === this.now.active) ?? null; }
    get canUndo() { return this.past.length > 0; }
    get canRedo() { return this.future.length > 0; }
    reset(objects) {
        this.past = [];
        this.future = [];
        this.now = { objects, active: null };
    }
    set(objects, active = this.now.active) {
        this.past.push(this.now);
        this.future = [];
        this.now = { objects, active };
        this.changed();
    }
    /** Adds the object, or replaces the one with its key; it becomes the active one. */
    put(object) {
        const exists = this.all.some((one) => one.key === object.key);
        this.set(exists ? this.all.map((one) => (one.key === object.key ? object : one)) : [...this.all, object], object.key);
    }
    /** The mask that arrived for the prompt of `asked`, wherever in the history that prompt is; strokes are painted on it. */
    setMask(asked, mask) {
        this.replacePrompt(asked, (one) => [{ ...one, mask: withStrokes(mask, one.strokes) }]);
    }
    /** Takes the prompt of `asked` back, wherever in the history it is; `before` is the object as it was without it. */
    withdraw(asked, before) {
        this.replacePrompt(asked, (one) => before ? [{ ...one, points: before.points, labels: before.labels, box: before.box }] : []);
    }
    /** Changes all of the history, as somebody else's work is not to be undone. */
    rewrite(change) {
        const update = (moment) => ({ ...moment, objects: change(moment.objects) });
        this.past = this.past.map(update);
        this.future = this.future.map(update);
        this.now = update(this.now);
        this.changed();
    }
    replacePrompt(asked, change) {
        const same = (one) => one.key === asked.key && one.points === asked.points && one.box === asked.box;
        this.rewrite((all) => (all.some(same) ? all.flatMap((one) => (same(one) ? change(one) : [one])) : all));
    }
    remove(key) {
        this.set(this.all.filter((one) => one.key !== key), this.now.active === key ? null : this.now.active);
    }
    activate(key) {
        this.now = { ...this.now, active: key };
        this.changed();
    }
    undo() { this.step(this.past, this.future); }
    redo() { this.step(this.future, this.past); }
    step(from, to) {
        const moment = from.pop();
        if (!moment)
            return;
        to.push(this.now);
        this.now = moment;
        this.changed();
    }
}
/** By what two saved objects are told apart. */
export function keyOf({ name, rle }) {
    return `${name} ${rle.counts}`;
}
export function toSave(objects) {
    return objects.flatMap(({ name, colour, visible, points, labels, box, strokes, mask }) => mask ? [{ name, colour, visible, points, labels, box, strokes, rle: mask.rle, predicted_iou: mask.predictedIou }] : []);
}
export function fromSaved(saved, count) {
    const { name, visible, points, labels, box, strokes, rle, polygons, predicted_iou: predictedIou } = saved;
    const fresh = newObject(count, name);
    return { ...fresh, colour: saved.colour ?? fresh.colour, visible, points, labels, box, strokes, mask: { rle, polygons, predictedIou } };
}
