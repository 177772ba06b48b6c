// The buttons and the list of photos, as they are at any moment.
import { element } from "./status.js";
export function renderToolbar(state) {
    const { proposing, brushing, removing, current, photos } = state;
    document.body.classList.toggle("proposing", proposing);
    document.body.classList.toggle("brushing", brushing);
    const several = state.exportsAll && photos > 1;
    element("all-photos").closest("label").hidden = !several;
    disable("undo", !state.canUndo || proposing);
    disable("redo", !state.canRedo || proposing);
    disable("previous", current <= 0);
    disable("next", current >= photos - 1);
    disable("everything", current < 0 || proposing);
    disable("export", current < 0 || !(several || state.masks));
    disable("accept", !state.active && !proposing);
    press("add", !removing);
    press("remove", removing);
    press("brush", brushing);
}
export function renderPhotos(photos, current) {
    const select = element("photo");
    select.replaceChildren(...photos.map((photo, i) => new Option(photo.name, String(i))));
    select.value = String(current);
    element("position").textContent = photos.length ? `${current + 1} of ${photos.length}` : "";
    document.title = photos[current] ? `${photos[current].name} · PocketSAM` : "PocketSAM";
    document.body.classList.toggle("empty", photos.length === 0);
}
function disable(name, off) {
    element(name).disabled = off;
}
function press(name, on) {
    element(name).setAttribute("aria-pressed", String(on));
}
