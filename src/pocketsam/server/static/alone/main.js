// The page of the site that `pocketsam export web` makes: no server, all in this browser.
import { start } from "../main.js";
import { BrowserBackend } from "./browser.js";
const site = new URL(".", location.href);
const options = new URLSearchParams(location.search);
const RELOADED = "pocketsam reloaded";
const MOST_THREADS = 8; // with more, the small matrices of a small model gain nothing
/**
 * Has the service worker serve this page: only then, a static host being unable to send the headers for it, may the
 * page use threads. That takes a reload at the first visit. Resolves when the page can go on.
 */
async function isolate() {
    if (!("serviceWorker" in navigator))
        return; // an insecure address: one thread, and online only
    await navigator.serviceWorker.register(new URL("sw.js", site), { scope: site.pathname }).catch(() => { });
    if (crossOriginIsolated || sessionStorage.getItem(RELOADED)) {
        sessionStorage.removeItem(RELOADED);
        return;
    }
    await navigator.serviceWorker.ready;
    sessionStorage.setItem(RELOADED, "yes");
    location.reload();
    await new Promise(() => { });
}
function threads() {
    if (!crossOriginIsolated)
        return 1;
    return Number(options.get("threads")) || Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS);
}
function gpu() {
    const given = options.get("gpu");
    return given === "no" || given === "any" ? given : "real";
}
const note = document.getElementById("note");
function say(line) {
    note.textContent = line;
}
const PRIVATE = "Photos stay on this computer: the model runs in this browser, and nothing is sent.";
const events = {
    loading({ loaded, total }) {
        say(`${PRIVATE} Loading the model: ${Math.floor((100 * loaded) / total)} % of ${Math.ceil(total / 1e6)} MB.`);
    },
    ready(ready) {
        document.body.dataset.model = "ready";
        const cached = navigator.serviceWorker?.controller ? " This page works offline, too." : "";
        say(`${PRIVATE}${cached} ${device(ready)}`);
    },
    failed: say,
};
function device({ gpu, threads }) {
    const cpu = `WebAssembly with ${threads} ${threads === 1 ? "thread" : "threads"}`;
    return gpu ? `It uses the graphics processor (WebGPU), and ${cpu}.` : `It uses ${cpu}.`;
}
/** A button of the help that removes what the browser keeps. */
function offerRemoval(backend) {
    const button = document.createElement("button");
    button.className = "text";
    button.textContent = "Remove all photos and annotations from this browser";
    button.addEventListener("click", async () => {
        if (!confirm("Remove all photos and annotations? Export what you need first."))
            return;
        await backend.store.clear();
        location.reload();
    });
    document.querySelector("#help form").before(button);
}
note.hidden = false;
say(PRIVATE);
await isolate();
const backend = await BrowserBackend.start(site, { threads: threads(), gpu: gpu() }, events);
offerRemoval(backend);
start(backend);
// For tests and benchmarks.
Object.assign(window.pocketsam, { backend });
