// The backend that needs no server: a worker with the model, and the photos and annotations in this browser.
import { FORMATS, exported } from "./formats.js";
import { outlinesOf } from "./masks.js";
import { decode } from "./photo.js";
import { Store, versionOf } from "./store.js";
export class BrowserBackend {
    site;
    store;
    events;
    worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    calls = 0;
    waiting = new Map();
    constructor(site, store, events) {
        this.site = site;
        this.store = store;
        this.events = events;
    }
    static async start(site, setup, events) {
        const backend = new BrowserBackend(site, await Store.open(site), events);
        backend.worker.onmessage = ({ data }) => backend.receive(data);
        backend.worker.postMessage({ site: site.href, ...setup });
        return backend;
    }
    async model() {
        const { config } = await (await fetch(new URL("model/model.json", this.site))).json();
        return { name: config.name, engine: "ONNX Runtime Web", version: "", formats: FORMATS };
    }
    async photos() {
        return (await this.store.photos()).map(({ id, name }) => ({ id, name }));
    }
    async upload(file) {
        const name = file.name || "pasted.png";
        (await decode(file, name)).close();
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
        const id = [...digest.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        await this.store.add({ id, name }, file);
        void navigator.storage?.persist?.(); // or the browser may remove them when it needs room
        return { id, name };
    }
    openPhoto(id) { return this.call("open", [id]); }
    async picture(id) { return (await this.store.photo(id)).file; }
    async annotations(id) {
        const saved = await this.store.annotations(id);
        return { objects: saved.map((one) => ({ ...one, polygons: outlinesOf(one.rle) })), version: versionOf(saved) };
    }
    async save(id, objects, replaces) {
        return (await this.store.save(id, objects, replaces)) ? versionOf(objects) : null;
    }
    segment(id, prompt) { return this.call("segment", [id, prompt]); }
    async preview(id, prompt) {
        return this.waiting.size ? null : (await this.segment(id, prompt)).polygons;
    }
    async everything(id, report, signal) {
        const call = this.calls + 1;
        signal.addEventListener("abort", () => this.worker.postMessage({ cancel: call }));
        try {
            return await this.call("everything", [id], report);
        }
        finally {
            signal.throwIfAborted();
        }
    }
    async exportAs(id, suffix) {
        return exported(await this.store.photo(id), await this.store.annotations(id), suffix);
    }
    /** Calls a method of the worker; its time is a performance entry of the page. */
    async call(method, given, done) {
        const call = ++this.calls;
        const start = performance.now();
        const result = await new Promise((resolve, reject) => {
            this.waiting.set(call, { resolve, reject, done });
            this.worker.postMessage({ call, method, arguments: given });
        });
        performance.measure(`pocketsam ${method}`, { start });
        return result;
    }
    receive(reply) {
        if ("loading" in reply)
            this.events.loading(reply.loading);
        else if ("ready" in reply)
            this.events.ready(reply.ready);
        else if ("failed" in reply)
            this.events.failed(reply.failed);
        else if ("done" in reply)
            this.waiting.get(reply.call)?.done?.(reply.done);
        else {
            const waiting = this.waiting.get(reply.call);
            this.waiting.delete(reply.call);
            if ("error" in reply)
                waiting?.reject(new Error(reply.error));
            else
                waiting?.resolve(reply.result);
        }
    }
}
