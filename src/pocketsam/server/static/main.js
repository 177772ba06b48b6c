// The page: what its buttons, its keys and the pointer do. `start` gives it its backend.
import { listenToFiles } from "./files.js";
import { download, renderFormats } from "./formats.js";
import { Cross, listenToKeys } from "./keys.js";
import { ObjectList } from "./list.js";
import { addStroke, fromMask, maskOf, newObject, Objects } from "./objects.js";
import { Preview } from "./preview.js";
import { Proposals } from "./proposals.js";
import { Saver, withChange } from "./saver.js";
import { announce, attempt, cancelWork, element, toast, whileBusy, withProgress } from "./status.js";
import { renderPhotos, renderToolbar } from "./toolbar.js";
import { View } from "./view.js";
import { counted, describe } from "./words.js";
const canvas = element("canvas");
const photoSelect = element("photo");
const brushSize = element("brush-size");
let backend;
let photos = [];
let current = -1;
let shown; // the photo whose objects are shown
let opening = 0; // counts the photos that were opened, so that a late answer is known as such
let segmenting = 0; // how many masks are awaited
let lastName = "object";
let removing = false; // the tool: clicks and strokes remove
let brushing = false; // the tool: a brush
let previewing = localStorage.getItem("pocketsam preview") !== "off";
let savedObjects = [];
let saveState = "saved";
const gestures = { click: clicked, box: boxed, hover: hovered, stroke: stroked };
const view = new View(canvas, gestures);
const cross = new Cross(view, canvas, gestures);
const objects = new Objects(changed);
const list = new ObjectList(objects, (name) => { lastName = name; });
const proposals = new Proposals(view, redraw);
const saver = new Saver(() => backend, reportSaved, joined);
const preview = new Preview((polygons) => {
    view.preview = polygons && { polygons, colour: (objects.active ?? newColour()).colour, dashed: true };
    view.redraw();
});
function id() {
    return photos[current]?.id;
}
function newColour() {
    return newObject(objects.all.length, lastName);
}
// photos
async function openPhoto(index) {
    const entry = photos[index];
    if (!entry)
        return;
    await segmented(); // a mask that is awaited belongs to the photo that is open
    save();
    shown = undefined;
    current = index;
    const turn = ++opening;
    const late = () => turn !== opening;
    cancelWork();
    proposals.close();
    preview.clear();
    objects.reset([]);
    savedObjects = objects.all;
    view.show(null);
    renderPhotos(photos, current);
    redraw();
    history.replaceState(null, "", `#${entry.id}`);
    await saver.idle();
    const encoded = whileBusy("Reading the photo…", backend.openPhoto(entry.id));
    encoded.catch(() => { }); // awaited below
    const bitmap = await createImageBitmap(await backend.picture(entry.id));
    if (late())
        return;
    const opened = await saver.open(entry.id);
    if (late())
        return;
    view.show(bitmap);
    objects.reset(opened);
    savedObjects = objects.all;
    shown = entry.id;
    redraw();
    await encoded;
    if (late())
        return;
    document.body.dataset.ready = entry.id;
    announce(`${entry.name} is ready, with ${counted(objects.all.length, "object")}.`);
    const next = photos[index + 1];
    if (next)
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
    renderPhotos(photos, current);
    await attempt(() => openPhoto(photos.length > before ? before : photos.findIndex((one) => one.id === first)));
}
// prompts
/** The object that a click goes on with, or begins. */
function target() {
    return objects.active ?? newObject(objects.all.length, lastName);
}
function withClick(object, point, label) {
    return { ...object, points: [...object.points, point], labels: [...object.labels, label] };
}
function clicked(point, adds) {
    if (proposals.open) {
        proposals.toggle(point);
    }
    else if (brushing) {
        stroked([point], view.radius, adds);
    }
    else if (objects.active || (adds && !removing)) {
        prompt(withClick(target(), point, adds && !removing ? 1 : 0));
    }
    else {
        toast("Click on an object first; then remove parts that do not belong to it.");
    }
}
function boxed(box) {
    if (!proposals.open)
        prompt({ ...target(), box });
}
function hasStart({ labels, box }) {
    return box !== null || labels.includes(1);
}
/** Resolves when no mask is awaited. */
async function segmented() {
    while (segmenting)
        await new Promise((done) => setTimeout(done, 20));
}
/** Shows the object's new prompt at once, and its mask when that arrives. */
function prompt(object) {
    if (!hasStart(object)) {
        toast("This object has no clicks to start from; draw a box around it, or delete it and click on it.");
        return;
    }
    const photo = id();
    preview.hold();
    const before = objects.all.find((one) => one.key === object.key);
    segmenting++;
    renderSaved();
    objects.put(object);
    const { points, labels, box } = object;
    void attempt(async () => {
        try {
            const mask = await whileBusy("Segmenting…", backend.segment(photo, { points, labels, box }));
            if (mask.empty)
                toast("No object was found there.");
            objects.setMask(object, maskOf(mask));
            tell(object.key);
        }
        catch (error) {
            objects.withdraw(object, before);
            throw error;
        }
        finally {
            segmenting--;
            if (!segmenting) {
                preview.clear();
                save();
                renderSaved();
            }
        }
    });
}
/** Paints on the mask of the object, or begins one. */
function stroked(points, radius, adds) {
    if (proposals.open)
        return;
    const paints = adds && !removing;
    if (!paints && !objects.active?.mask) {
        toast("Choose an object first; then erase parts that do not belong to it.");
        return;
    }
    const object = addStroke(target(), { points, radius, adds: paints }, view.photo.width, view.photo.height);
    if (!objects.active && !object.mask.polygons.length)
        return; // beside the photo
    objects.put(object);
    tell(object.key);
}
/** Shows the mask that a click would give. */
function hovered(point, adds) {
    if (segmenting)
        return;
    const photo = id();
    const ready = photo !== undefined && document.body.dataset.ready === photo;
    if (!point || !previewing || !ready || brushing || proposals.open) {
        preview.clear();
        return;
    }
    const { points, labels, box } = withClick(target(), point, adds && !removing ? 1 : 0);
    if (hasStart({ points, labels, box }))
        preview.ask(() => backend.preview(photo, { points, labels, box }));
    else
        preview.clear();
}
/** Says to screen readers what an object is now. */
function tell(key) {
    if (view.photo)
        describe(objects.all.find((one) => one.key === key), view.photo.width * view.photo.height);
}
function accept() {
    if (proposals.open) {
        const kept = proposals.kept();
        const made = kept.map((mask, i) => fromMask(mask, objects.all.length + i));
        proposals.close();
        if (made.length)
            objects.set([...objects.all, ...made], null);
        else
            redraw();
        announce(`${counted(made.length, "object")} kept.`);
    }
    else if (objects.active) {
        announce(`${objects.active.name} is accepted; the next click begins another object.`);
        objects.activate(null);
    }
}
async function findEverything() {
    const photo = id();
    if (!photo || cancelWork())
        return;
    const turn = opening;
    const find = (report, signal) => backend.everything(photo, report, signal);
    preview.clear();
    const found = await withProgress("Finding all objects…", find);
    if (turn !== opening)
        return;
    objects.activate(null);
    if (!found.length)
        return toast("No objects were found.");
    proposals.show(found);
    announce(`${counted(found.length, "object")} found. Enter keeps them, Escape does not.`);
}
async function exportAs(suffix) {
    const photo = id();
    if (!photo)
        return;
    await segmented();
    await saver.idle();
    const all = element("all-photos").checked && photos.length > 1;
    const unsaved = photos.find((one) => (all || one.id === photo) && saver.waits(one.id));
    if (unsaved)
        throw new Error(`Not exported, as changes of ${unsaved.name} are not saved yet; try again when they are.`);
    download(await whileBusy("Exporting…", all ? backend.exportAll(suffix) : backend.exportAs(photo, suffix)));
}
function cancel() {
    if (cancelWork())
        return;
    if (proposals.open) {
        proposals.close();
        redraw();
    }
    else {
        objects.activate(null);
    }
}
// what is shown
function changed() {
    if (!segmenting)
        save(); // else when the mask is there
    redraw();
}
function save() {
    if (!shown || objects.all === savedObjects)
        return;
    savedObjects = objects.all;
    saver.save(shown, objects.all);
}
function reportSaved(state) {
    saveState = state;
    renderSaved();
    if (state instanceof Error)
        toast(`Not saved yet, and tried again until it is: ${state.message}`);
}
/** Shows what somebody else has changed of this photo. */
function joined(photo, change) {
    const { added, removed } = change;
    if (photo !== shown || !(added.length || removed.size))
        return;
    objects.rewrite((all) => withChange(all, change));
    const done = [added.length && `${counted(added.length, "object")} added`, removed.size && `${removed.size} removed`];
    toast(`Somebody else has annotated this photo, too: ${done.filter(Boolean).join(", ")}.`);
}
/** A mask that is awaited is not saved yet. */
function renderSaved() {
    const saving = segmenting > 0 || saveState === "saving";
    element("saved").textContent = saveState instanceof Error ? "Not saved yet" : saving ? "Saving…" : "Saved";
}
function redraw() {
    const active = objects.active;
    const shapes = objects.all.flatMap((one) => one.mask && one.visible
        ? [{ polygons: one.mask.polygons, colour: one.colour, strong: one === active, faint: proposals.open }]
        : []);
    view.shapes = [...shapes, ...proposals.shapes()];
    view.marks = active && !proposals.open ? active : null;
    view.brush = brushing && !proposals.open ? Number(brushSize.value) : null;
    view.redraw();
    list.render();
    renderButtons();
}
function renderButtons() {
    renderToolbar({
        proposing: proposals.open, brushing, removing, current, photos: photos.length,
        canUndo: objects.canUndo, canRedo: objects.canRedo, active: objects.active !== null,
        masks: objects.all.some((one) => one.mask), exportsAll: backend?.exportAll !== undefined,
    });
}
// buttons and keys
function setTool(tool) {
    removing = tool.removing ?? removing;
    brushing = tool.brushing ?? brushing;
    preview.clear();
    redraw();
}
function resizeBrush(factor) {
    brushSize.value = String(Math.round(Number(brushSize.value) * factor));
    redraw();
}
function togglePreview() {
    previewing = !previewing;
    localStorage.setItem("pocketsam preview", previewing ? "on" : "off");
    preview.clear();
    toast(previewing ? "The mask under the pointer is shown." : "The mask under the pointer is not shown; P shows it again.");
}
const actions = {
    undo: () => { if (!proposals.open)
        objects.undo(); },
    redo: () => { if (!proposals.open)
        objects.redo(); },
    previous: () => void attempt(() => openPhoto(current - 1)),
    next: () => void attempt(() => openPhoto(current + 1)),
    everything: () => void attempt(findEverything),
    accept,
    cancel,
    add: () => setTool({ removing: false }),
    remove: () => setTool({ removing: true }),
    brush: () => setTool({ brushing: !brushing }),
    smaller: () => resizeBrush(1 / 1.25),
    larger: () => resizeBrush(1.25),
    preview: togglePreview,
    delete: () => { if (objects.active)
        objects.remove(objects.active.key); },
    "zoom-in": () => view.zoom(1.3),
    "zoom-out": () => view.zoom(1 / 1.3),
    fit: () => view.fit(),
    open: () => element("files").click(),
    choose: () => element("files").click(),
    "show-help": () => element("help").showModal(),
    "proposals-accept": accept,
    "proposals-cancel": cancel,
    "proposals-all": () => proposals.toggleAll(),
    "status-cancel": cancel,
};
function listen() {
    for (const [name, action] of Object.entries(actions))
        document.getElementById(name)?.addEventListener("click", action);
    listenToKeys(view, canvas, actions, cross);
    listenToFiles(addFiles);
    brushSize.addEventListener("input", redraw);
    photoSelect.addEventListener("change", () => {
        photoSelect.blur();
        void attempt(() => openPhoto(Number(photoSelect.value)));
    });
    window.addEventListener("beforeunload", (event) => { if (saver.busy || segmenting)
        event.preventDefault(); });
}
async function begin() {
    listen();
    renderPhotos(photos, current);
    redraw();
    const [model, found] = await Promise.all([backend.model(), backend.photos()]);
    element("model").textContent = model.name;
    renderFormats(model, (suffix) => void attempt(() => exportAs(suffix)));
    photos = found;
    renderPhotos(photos, current);
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
