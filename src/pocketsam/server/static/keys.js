// The keys of the page, and those that move the cross on the photo and click there.
import { element } from "./status.js";
const KEYS = {
    Enter: "accept", Escape: "cancel", Delete: "delete", Backspace: "delete", ArrowLeft: "previous", ArrowRight: "next",
    e: "everything", f: "fit", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", o: "open", "?": "show-help",
    a: "add", r: "remove", b: "brush", "[": "smaller", "]": "larger", p: "preview",
    "ctrl+z": "undo", "ctrl+shift+z": "redo", "ctrl+y": "redo",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
/** Calls the page's actions by their keys. */
export function listenToKeys(view, canvas, actions, cross) {
    const pan = (on) => {
        view.panning = on;
        canvas.classList.toggle("panning", on);
    };
    document.addEventListener("keydown", (event) => {
        if (isTaken(event) || event.altKey)
            return;
        const target = event.target;
        const crossed = target === canvas && cross.key(event);
        if (!crossed && event.key === " ") {
            if (target.matches("button"))
                return;
            pan(true);
        }
        else if (!crossed) {
            const action = KEYS[nameOf(event)];
            if (!action || (event.key === "Enter" && target.matches("button")))
                return; // which presses that button
            actions[action]();
        }
        event.preventDefault();
    });
    document.addEventListener("keyup", (event) => { if (event.key === " ")
        pan(false); });
    window.addEventListener("blur", () => pan(false));
}
function nameOf(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    return event.ctrlKey || event.metaKey ? `ctrl+${event.shiftKey ? "shift+" : ""}${key}` : key;
}
/** Whether a key belongs to a field, a menu or a dialog. */
function isTaken(event) {
    const target = event.target;
    const typing = target.matches("input[type=text], select");
    if (typing && (event.key === "Enter" || event.key === "Escape"))
        target.blur();
    const menu = element("formats").matches(":popover-open");
    const sliding = target.matches("input[type=range]") && event.key !== "Enter" && event.key !== "Escape";
    return typing || menu || element("help").open || sliding;
}
/** A cross on the photo for the keyboard, while the canvas has the focus. */
export class Cross {
    view;
    gestures;
    corner = null;
    constructor(view, canvas, gestures) {
        this.view = view;
        this.gestures = gestures;
        canvas.addEventListener("focus", () => this.show());
        canvas.addEventListener("blur", () => this.hide());
        canvas.addEventListener("mousedown", (event) => {
            event.preventDefault();
            document.activeElement?.blur();
        });
    }
    /** Whether the key is one of the cross's. */
    key(event) {
        const { cross, photo } = this.view;
        if (!cross || !photo || event.ctrlKey || event.metaKey)
            return false;
        const arrow = ARROWS[event.key];
        if (arrow)
            this.move(arrow, event.shiftKey ? 1 : Math.max(photo.width, photo.height) / 40);
        else if (event.key === " ")
            this.gestures.click(cross, !event.shiftKey);
        else if (event.key === "c")
            this.corners(cross);
        else
            return false;
        return true;
    }
    show() {
        const { photo } = this.view;
        if (photo)
            this.view.cross = [photo.width / 2, photo.height / 2];
        this.view.redraw();
    }
    hide() {
        this.view.cross = this.corner = null;
        this.gestures.hover(null, true);
        this.view.redraw();
    }
    move([dx, dy], step) {
        const { cross, photo } = this.view;
        const within = (value, most) => Math.min(most - 0.5, Math.max(0.5, value));
        const to = [within(cross[0] + dx * step, photo.width), within(cross[1] + dy * step, photo.height)];
        this.view.cross = to;
        this.view.reveal(to);
        this.gestures.hover(to, true);
        this.view.redraw();
    }
    /** The first corner of a box, or the second. */
    corners(at) {
        const from = this.corner;
        this.corner = from ? null : at;
        if (!from)
            return;
        const [x, y] = [[from[0], at[0]].sort((a, b) => a - b), [from[1], at[1]].sort((a, b) => a - b)];
        this.gestures.box([x[0], y[0], x[1], y[1]]);
    }
}
