// The menu of the formats for exports.
import { element } from "./status.js";
/** Fills the menu. chosen: gets the suffix of the format that the user clicks on. */
export function renderFormats(model, chosen) {
    const items = model.formats.map(({ suffixes, what }) => {
        const row = document.createElement("div");
        const text = document.createElement("span");
        text.textContent = what.charAt(0).toUpperCase() + what.slice(1);
        row.append(text, ...suffixes.map((suffix) => button(suffix, what, chosen)));
        return row;
    });
    element("formats").append(...items);
}
function button(suffix, what, chosen) {
    const button = document.createElement("button");
    button.dataset.suffix = suffix;
    button.textContent = suffix;
    button.setAttribute("aria-label", `${suffix}, ${what}`);
    button.addEventListener("click", () => {
        element("formats").hidePopover();
        chosen(suffix);
    });
    return button;
}
/** Has the browser save a file. */
export function download(file) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
