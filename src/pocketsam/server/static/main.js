// The page: buttons, keys and the list of objects around the canvas. `start` gives it its backend.
import { fromMask, fromSaved, maskOf, newObject, Objects, Saver, toSave } from "./objects.js";
import { Proposals } from "./proposals.js";
import { View } from "./view.js";
function element(id) {
    return document.getElementById(id);
}
const canvas = element("canvas");
const list = element("objects");
const photoSelect = element("photo");
const files = element("files");
const help = element("help");
let backend;
let photos = [];
let current = -1;
let opening = 0; // counts the photos that were opened, so that a late answer is known as such
let lastName = "object";
let removing = false; // the tool: clicks remove
let savedObjects = [];
let toastTimer = 0;
const view = new View(canvas, { click: clicked, box: boxed });
const objects = new Objects(changed);
const saver = new Saver((id, objects) => backend.save(id, toSave(objects)), (state) => {
    const failed = state instanceof Error;
    element("saved").textContent = failed ? "Not saved" : state === "saving" ? "Saving…" : "Saved";
    if (failed)
        toast(`Not saved: ${state.message}`);
});
const proposals = new Proposals(view, redraw);
function id() {
    return photos[current]?.id;
}
/** Shows a line for a few seconds; screen readers read it. */
function toast(line) {
    const toast = element("toast");
    toast.textContent = line;
    toast.hidden = false;
    clearTimeout(toastTimer);
    toastTimer = window.setTimeout(() => { toast.hidden = true; }, 6000);
}
/** Runs an action of the user, and shows its error. */
async function attempt(work) {
    try {
        await work();
    }
    catch (error) {
        toast(error.message);
    }
}
async function whileBusy(line, work) {
    const status = element("status");
    status.textContent = line;
    document.body.classList.add("busy");
    try {
        return await work;
    }
    finally {
        if (status.textContent === line) {
            status.textContent = "";
            document.body.classList.remove("busy");
        }
    }
}
// photos
async function openPhoto(index) {
    const entry = photos[index];
    if (!entry)
        return;
    current = index;
    const turn = ++opening;
    const late = () => turn !== opening;
    proposals.close();
    objects.reset([]);
    savedObjects = objects.all;
    view.show(null);
    renderPhotos();
    redraw();
    history.replaceState(null, "", `#${entry.id}`);
    await saver.idle();
    const encoded = whileBusy("Reading the photo…", backend.openPhoto(entry.id));
    encoded.catch(() => { }); // awaited below
    const [bitmap, saved] = await Promise.all([
        backend.picture(entry.id).then((blob) => createImageBitmap(blob)),
        backend.annotations(entry.id),
    ]);
    if (late())
        return;
    view.show(bitmap);
    objects.reset(saved.map(fromSaved));
    savedObjects = objects.all;
    redraw();
    await encoded;
    document.body.dataset.ready = entry.id;
    const next = photos[index + 1];
    if (!late() && next)
        void backend.openPhoto(next.id).catch(() => { }); // it is encoded when the user gets there
}
async function addFiles(added) {
    const before = photos.length;
    let first;
    for (const file of added) {
        await attempt(async () => {
            const entry = await whileBusy(`Uploading ${file.name}…`, backend.upload(file));
            first ??= entry.id;
            if (!photos.some((one) => one.id === entry.id))
                photos.push(entry);
        });
    }
    if (!first)
        return;
    renderPhotos();
    await openPhoto(photos.length > before ? before : photos.findIndex((one) => one.id === first));
}
// prompts
function clicked(point, adds) {
    if (proposals.open) {
        proposals.toggle(point);
        return;
    }
    const label = adds && !removing ? 1 : 0;
    const object = objects.active;
    if (!label && !object) {
        toast("Click on an object first; then remove parts that do not belong to it.");
        return;
    }
    const base = object ?? newObject(objects.all.length, lastName);
    prompt({ ...base, points: [...base.points, point], labels: [...base.labels, label] });
}
function boxed(box) {
    if (!proposals.open)
        prompt({ ...(objects.active ?? newObject(objects.all.length, lastName)), box });
}
/** Shows the object's new prompt at once, and its mask when that arrives. */
function prompt(object) {
    if (!object.labels.includes(1) && !object.box) {
        toast("This object has no clicks to start from; draw a box around it, or delete it and click on it.");
        return;
    }
    const photo = id();
    const turn = opening;
    objects.put(object);
    const { points, labels, box } = object;
    void attempt(async () => {
        try {
            const mask = await whileBusy("Segmenting…", backend.segment(photo, { points, labels, box }));
            if (turn !== opening)
                return;
            if (mask.empty)
                toast("No object was found there.");
            objects.setMask(object, maskOf(mask));
        }
        catch (error) {
            if (turn === opening && objects.active?.points === points && objects.active.box === box)
                objects.undo();
            throw error;
        }
    });
}
function accept() {
    if (proposals.open) {
        const kept = proposals.kept();
        const made = kept.map((mask, i) => fromMask(mask, objects.all.length + i));
        proposals.close();
        if (made.length)
            objects.set([...objects.all, ...made], null);
    }
    else if (objects.active) {
        objects.activate(null);
    }
}
async function findEverything() {
    const photo = id();
    if (!photo)
        return;
    const turn = opening;
    element("everything").disabled = true;
    const found = await whileBusy("Finding all objects…", backend.everything(photo, () => { }, new AbortController().signal)).finally(renderButtons);
    if (turn !== opening)
        return;
    objects.activate(null);
    if (found.length)
        proposals.show(found);
    else
        toast("No objects were found.");
}
async function exportAs(suffix) {
    const photo = id();
    if (!photo)
        return;
    await saver.idle();
    const file = await whileBusy("Exporting…", backend.exportAs(photo, suffix));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
// what is shown
function changed() {
    const photo = id();
    if (photo && objects.all !== savedObjects) {
        savedObjects = objects.all;
        saver.save(photo, objects.all);
    }
    redraw();
}
function redraw() {
    const active = objects.active;
    const shapes = objects.all.flatMap((one) => one.mask && one.visible
        ? [{ polygons: one.mask.polygons, colour: one.colour, strong: one === active, faint: proposals.open }]
        : []);
    view.shapes = [...shapes, ...proposals.shapes()];
    view.marks = active && !proposals.open ? active : null;
    view.redraw();
    renderList();
    renderButtons();
}
function renderPhotos() {
    photoSelect.replaceChildren(...photos.map((photo, i) => new Option(photo.name, String(i))));
    photoSelect.value = String(current);
    element("position").textContent = photos.length ? `${current + 1} of ${photos.length}` : "";
    document.title = photos[current] ? `${photos[current].name} · PocketSAM` : "PocketSAM";
    document.body.classList.toggle("empty", photos.length === 0);
}
function renderButtons() {
    document.body.classList.toggle("proposing", proposals.open);
    const disable = (name, off) => { element(name).disabled = off; };
    const none = current < 0;
    disable("undo", !objects.canUndo || proposals.open);
    disable("redo", !objects.canRedo || proposals.open);
    disable("previous", current <= 0);
    disable("next", current >= photos.length - 1);
    disable("everything", none || proposals.open);
    disable("export", none || !objects.all.some((one) => one.mask));
    disable("accept", !objects.active && !proposals.open);
    element("add").setAttribute("aria-pressed", String(!removing));
    element("remove").setAttribute("aria-pressed", String(removing));
    element("count").textContent = objects.all.length ? String(objects.all.length) : "";
    element("no-objects").hidden = objects.all.length > 0;
}
function renderList() {
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    const where = focused?.dataset.field && `[data-key="${focused.closest("li").dataset.key}"] [data-field="${focused.dataset.field}"]`;
    list.replaceChildren(...objects.all.map(renderObject));
    if (where)
        list.querySelector(where)?.focus();
}
function renderObject(object) {
    const row = element("object").content.firstElementChild.cloneNode(true);
    const part = (field) => row.querySelector(`[data-field=${field}]`);
    const replace = (change) => objects.set(objects.all.map((one) => (one.key === object.key ? { ...one, ...change } : one)));
    row.dataset.key = String(object.key);
    row.classList.toggle("active", object === objects.active);
    row.classList.toggle("hidden", !object.visible);
    row.addEventListener("click", (event) => {
        if (!event.target.closest("button, input"))
            objects.activate(object.key);
    });
    const colour = part("colour");
    colour.value = object.colour;
    colour.addEventListener("change", () => replace({ colour: colour.value }));
    const name = part("name");
    name.value = object.name;
    name.addEventListener("focus", () => { if (objects.active?.key !== object.key)
        objects.activate(object.key); });
    name.addEventListener("change", () => {
        lastName = name.value.trim() || "object";
        replace({ name: lastName });
    });
    part("score").textContent = object.mask?.predictedIou ? `${Math.round(100 * object.mask.predictedIou)} %` : "";
    const shown = part("visible");
    shown.setAttribute("aria-pressed", String(object.visible));
    shown.addEventListener("click", () => replace({ visible: !object.visible }));
    part("delete").addEventListener("click", () => objects.remove(object.key));
    return row;
}
// buttons and keys
const actions = {
    undo: () => { if (!proposals.open)
        objects.undo(); },
    redo: () => { if (!proposals.open)
        objects.redo(); },
    previous: () => void attempt(() => openPhoto(current - 1)),
    next: () => void attempt(() => openPhoto(current + 1)),
    everything: () => void attempt(findEverything),
    accept,
    cancel: () => (proposals.open ? (proposals.close(), redraw()) : objects.activate(null)),
    add: () => { removing = false; renderButtons(); },
    remove: () => { removing = true; renderButtons(); },
    delete: () => { if (objects.active)
        objects.remove(objects.active.key); },
    "zoom-in": () => view.zoom(1.3),
    "zoom-out": () => view.zoom(1 / 1.3),
    fit: () => view.fit(),
    open: () => files.click(),
    choose: () => files.click(),
    "show-help": () => help.showModal(),
};
const keys = {
    Enter: "accept", Escape: "cancel", Delete: "delete", Backspace: "delete", ArrowLeft: "previous", ArrowRight: "next",
    e: "everything", f: "fit", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", o: "open", "?": "show-help",
    a: "add", r: "remove", "ctrl+z": "undo", "ctrl+shift+z": "redo", "ctrl+y": "redo",
};
function keyName(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!event.ctrlKey && !event.metaKey)
        return key;
    return `ctrl+${event.shiftKey ? "shift+" : ""}${key}`;
}
function pressed(event) {
    const target = event.target;
    const typing = target.matches("input[type=text], select");
    if (typing && (event.key === "Enter" || event.key === "Escape")) {
        target.blur();
        return;
    }
    const menu = element("formats").matches(":popover-open");
    if (typing || menu || help.open || target.matches("input[type=range]"))
        return;
    if (event.key === " " && !target.matches("button")) {
        view.panning = true;
        canvas.classList.add("panning");
        event.preventDefault();
        return;
    }
    if (event.key === "Enter" && target.matches("button"))
        return; // presses that button
    const action = keys[keyName(event)];
    if (!action || event.altKey)
        return;
    event.preventDefault();
    actions[action]();
}
function listen() {
    for (const [name, action] of Object.entries(actions))
        document.getElementById(name)?.addEventListener("click", action);
    element("proposals-accept").addEventListener("click", accept);
    element("proposals-cancel").addEventListener("click", actions.cancel);
    document.addEventListener("keydown", pressed);
    document.addEventListener("keyup", (event) => {
        if (event.key !== " ")
            return;
        view.panning = false;
        canvas.classList.remove("panning");
    });
    photoSelect.addEventListener("change", () => {
        photoSelect.blur();
        void attempt(() => openPhoto(Number(photoSelect.value)));
    });
    files.addEventListener("change", () => void addFiles([...(files.files ?? [])]).then(() => { files.value = ""; }));
    document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget)
        document.body.classList.remove("dropping"); });
    document.addEventListener("drop", (event) => {
        event.preventDefault();
        document.body.classList.remove("dropping");
        void addFiles([...(event.dataTransfer?.files ?? [])]);
    });
    document.addEventListener("paste", (event) => {
        const pasted = [...(event.clipboardData?.files ?? [])];
        if (pasted.length)
            void addFiles(pasted);
    });
    window.addEventListener("beforeunload", (event) => { if (saver.busy)
        event.preventDefault(); });
}
function renderFormats(model) {
    element("model").textContent = model.name;
    const items = model.formats.map(({ suffixes, what }) => {
        const row = document.createElement("div");
        const text = document.createElement("span");
        text.textContent = what;
        row.append(text, ...suffixes.map(formatButton));
        return row;
    });
    element("formats").append(...items);
}
function formatButton(suffix) {
    const button = document.createElement("button");
    button.dataset.suffix = suffix;
    button.textContent = suffix;
    button.addEventListener("click", () => {
        element("formats").hidePopover();
        void attempt(() => exportAs(suffix));
    });
    return button;
}
async function begin() {
    listen();
    renderPhotos();
    redraw();
    const [model, found] = await Promise.all([backend.model(), backend.photos()]);
    renderFormats(model);
    photos = found;
    renderPhotos();
    const last = photos.findIndex((photo) => photo.id === location.hash.slice(1));
    if (photos.length)
        await openPhoto(Math.max(0, last));
}
// For tests: where on the page a pixel of the photo is.
window.pocketsam = { toPage: (point) => view.toPage(point) };
/** Starts the page on its backend. */
export function start(given) {
    backend = given;
    void attempt(begin);
}
