// The list of objects beside the photo: their names, colours and visibility.

import type { Objects, PhotoObject } from "./objects.js";
import { element } from "./status.js";

export class ObjectList {
  private rows = new Map<number, HTMLLIElement>();

  /** renamed: gets a name that the user gave. */
  constructor(private objects: Objects, private renamed: (name: string) => void) {}

  /** Shows the objects. Rows stay while their objects do, so that nobody loses the field that they type into. */
  render(): void {
    const { all, active } = this.objects;
    this.rows = new Map(all.map((one) => [one.key, this.rows.get(one.key) ?? this.row(one.key)]));
    const list = element<HTMLUListElement>("objects");
    const rows = [...this.rows.values()];
    if (rows.length !== list.children.length || rows.some((row, i) => list.children[i] !== row)) list.replaceChildren(...rows);
    for (const one of all) update(this.rows.get(one.key)!, one, one === active);
    const names = [...new Set(all.map((one) => one.name))].sort();
    element("names").replaceChildren(...names.map((name) => new Option(name)));
    element("count").textContent = all.length ? String(all.length) : "";
    element("no-objects").hidden = all.length > 0;
  }

  private row(key: number): HTMLLIElement {
    const { objects } = this;
    const row = element<HTMLTemplateElement>("object").content.firstElementChild!.cloneNode(true) as HTMLLIElement;
    const replace = (change: Partial<PhotoObject>, active?: number | null) =>
      objects.set(objects.all.map((one) => (one.key === key ? { ...one, ...change } : one)), active);
    row.addEventListener("click", (event) => {
      if (!(event.target as HTMLElement).closest("button, input")) objects.activate(key);
    });
    const colour = part<HTMLInputElement>(row, "colour");
    colour.addEventListener("change", () => replace({ colour: colour.value }));
    const name = part<HTMLInputElement>(row, "name");
    name.addEventListener("focus", () => { if (objects.active?.key !== key) objects.activate(key); });
    name.addEventListener("change", () => {
      const given = name.value.trim() || "object";
      this.renamed(given);
      replace({ name: given });
    });
    part(row, "visible").addEventListener("click", () => {
      const { visible } = objects.all.find((one) => one.key === key)!;
      const hidesActive = visible && objects.active?.key === key; // the next click is for what is beneath
      replace({ visible: !visible }, hidesActive ? null : undefined);
    });
    part(row, "delete").addEventListener("click", () => objects.remove(key));
    return row;
  }
}

function part<T extends HTMLElement>(row: HTMLElement, field: string): T {
  return row.querySelector<T>(`[data-field=${field}]`)!;
}

function update(row: HTMLLIElement, object: PhotoObject, active: boolean): void {
  row.classList.toggle("active", active);
  row.setAttribute("aria-current", String(active));
  row.classList.toggle("hidden", !object.visible);
  part<HTMLInputElement>(row, "colour").value = object.colour;
  const name = part<HTMLInputElement>(row, "name");
  if (name !== document.activeElement) name.value = object.name;
  part(row, "score").textContent = object.mask?.predictedIou ? `${Math.round(100 * object.mask.predictedIou)} %` : "";
  part(row, "visible").setAttribute("aria-pressed", String(object.visible));
  for (const [field, label] of [["colour", "Colour"], ["name", "Name"], ["visible", "Show"], ["delete", "Delete"]] as const) {
    part(row, field).setAttribute("aria-label", `${label} ${object.name}`);
  }
}
