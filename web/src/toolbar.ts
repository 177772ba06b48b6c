// The buttons and the list of photos, as they are at any moment.

import type { PhotoEntry } from "./backend.js";
import { element } from "./status.js";

/** What the buttons depend on. current: the number of the photo that is shown, or -1. photos: how many there are. */
export interface State {
  proposing: boolean;
  brushing: boolean;
  removing: boolean;
  current: number;
  photos: number;
  canUndo: boolean;
  canRedo: boolean;
  active: boolean;
  masks: boolean;
  exportsAll: boolean;
}

export function renderToolbar(state: State): void {
  const { proposing, brushing, removing, current, photos } = state;
  document.body.classList.toggle("proposing", proposing);
  document.body.classList.toggle("brushing", brushing);
  const several = state.exportsAll && photos > 1;
  element("all-photos").closest("label")!.hidden = !several;
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

export function renderPhotos(photos: readonly PhotoEntry[], current: number): void {
  const select = element<HTMLSelectElement>("photo");
  select.replaceChildren(...photos.map((photo, i) => new Option(photo.name, String(i))));
  select.value = String(current);
  element("position").textContent = photos.length ? `${current + 1} of ${photos.length}` : "";
  document.title = photos[current] ? `${photos[current]!.name} · PocketSAM` : "PocketSAM";
  document.body.classList.toggle("empty", photos.length === 0);
}

function disable(name: string, off: boolean): void {
  element<HTMLButtonElement>(name).disabled = off;
}

function press(name: string, on: boolean): void {
  element(name).setAttribute("aria-pressed", String(on));
}
