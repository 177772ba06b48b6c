// Photos that are dropped on the page, pasted or picked.

import { element } from "./status.js";

/** Gives each photo that the user adds. */
export function listenToFiles(add: (files: File[]) => Promise<void>): void {
  const input = element<HTMLInputElement>("files");
  const dropping = (on: boolean) => document.body.classList.toggle("dropping", on);
  input.addEventListener("change", () => void add([...(input.files ?? [])]).then(() => { input.value = ""; }));
  document.addEventListener("dragover", (event) => { event.preventDefault(); dropping(true); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) dropping(false); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropping(false);
    void add([...(event.dataTransfer?.files ?? [])]);
  });
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length) void add(pasted);
  });
}
