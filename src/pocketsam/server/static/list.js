// The list of objects beside the photo: their names, colours and visibility.
import { element } from "./status.js";
export class ObjectList {
    objects;
    renamed;
    rows = new Map();
    /** renamed: gets a name that the user gave. */
    constructor(objects, renamed) {
        this.objects = objects;
        this.renamed = renamed;
    }
    /** Shows the objects. Rows stay while their objects do, so that nobody loses the field that they type into. */
    render() {
        const { all, active } = this.objects;
        this.rows = new Map(all.map((one) => [one.key, this.rows.get(one.key) ?? this.row(one.key)]));
        const list = element("objects");
        const rows = [...this.rows.values()];
        if (rows.length !== list.children.length || rows.some((row, i) => list.children[i] !== row))
            list.replaceChildren(...rows);
        for (const one of all)
            update(this.rows.get(one.key), one, one === active);
        const names = [...new Set(all.map((one) => one.name))].sort();
        element("names").replaceChildren(...names.map((name) => new Option(name)));
        element("count").textContent = all.length ? String(all.length) : "";
        element("no-objects").hidden = all.length > 0;
    }
    row(key) {
        const { objects } = this;
        const row = element("object").content.firstElementChild.cloneNode(true);
        const replace = (change, active) => objects.set(objects.all.map((one) => (one.key === key ? { ...one, ...change } : one)), active);
        row.addEventListener("click", (event) => {
            if (!event.target.closest("button, input"))
                objects.activate(key);
        });
        const colour = part(row, "colour");
        colour.addEventListener("change", () => replace({ colour: colour.value }));
        const name = part(row, "name");
        name.addEventListener("focus", () => { if (objects.active?.key !== key)
            objects.activate(key); });
        name.addEventListener("change", () => {
            const given = name.value.trim() || "object";
            this.renamed(given);
            replace({ name: given });
        });
        part(row, "visible").addEventListener("click", () => {
            const { visible } = objects.all.find((one) => one.key === key);
            const hidesActive = visible && objects.active?.key === key; // the next click is for what is beneath
            replace({ visible: !visible }, hidesActive ? null : undefined);
        });
        part(row, "delete").addEventListener("click", () => objects.remove(key));
        return row;
    }
}
function part(row, field) {
    return row.querySelector(`[data-field=${field}]`);
}
function update(row, object, active) {
    row.classList.toggle("active", active);
    row.setAttribute("aria-current", String(active));
    row.classList.toggle("hidden", !object.visible);
    part(row, "colour").value = object.colour;
    const name = part(row, "name");
    if (name !== document.activeElement)
        name.value = object.name;
    part(row, "score").textContent = object.mask?.predictedIou ? `${Math.round(100 * object.mask.predictedIou)} %` : "";
    part(row, "visible").setAttribute("aria-pressed", String(object.visible));
    for (const [field, label] of [["colour", "Colour"], ["name", "Name"], ["visible", "Show"], ["delete", "Delete"]]) {
        part(row, field).setAttribute("aria-label", `${label} ${object.name}`);
    }
}
