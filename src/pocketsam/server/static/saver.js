// Saving the objects of photos as one goes, so that nothing is lost when the page or its server ends.
import { toSave } from "./objects.js";
import { outlines } from "./outlines.js";
import { decode } from "./rle.js";
const RETRY = 2000; // milliseconds
/**
 * Saves the latest state of a photo, one request at a time; states in between are skipped. What is not saved yet is
 * kept as a draft in the browser, and tried again.
 */
export class Saver {
    write;
    report;
    waiting = new Map();
    running = false;
    failed = false;
    constructor(write, report) {
        this.write = write;
        this.report = report;
    }
    get busy() { return this.running || this.waiting.size > 0; }
    save(id, objects) {
        this.waiting.set(id, objects);
        drafts.keep(id, objects);
        if (!this.running)
            void this.run();
    }
    /** Resolves when all is saved, or cannot be saved now. */
    async idle() {
        while (this.running)
            await new Promise((done) => setTimeout(done, 20));
    }
    async run() {
        this.running = true;
        if (!this.failed)
            this.report("saving");
        try {
            for (let next = this.next(); next; next = this.next())
                await this.saveOne(...next);
            this.failed = false;
            this.report("saved");
        }
        catch (error) {
            if (!this.failed)
                this.report(error);
            this.failed = true;
            setTimeout(() => { if (!this.running)
                void this.run(); }, RETRY);
        }
        finally {
            this.running = false;
        }
    }
    next() {
        return this.waiting.entries().next().value;
    }
    async saveOne(id, objects) {
        await this.write(id, objects);
        if (this.waiting.get(id) !== objects)
            return; // a later state is waiting
        this.waiting.delete(id);
        drafts.drop(id);
    }
}
/** What was not saved when the page ended. The browser keeps it; where it cannot, the page still works. */
export const drafts = {
    keep(id, objects) {
        attempt(() => localStorage.setItem(nameOf(id), JSON.stringify(toSave(objects))));
    },
    get(id) {
        return attempt(() => {
            const kept = JSON.parse(localStorage.getItem(nameOf(id)) ?? "null");
            return kept && kept.map((one) => ({ ...one, polygons: outlines(decode(one.rle)) }));
        }) ?? null;
    },
    drop(id) {
        attempt(() => localStorage.removeItem(nameOf(id)));
    },
};
const nameOf = (id) => `pocketsam draft ${id}`;
function attempt(work) {
    try {
        return work();
    }
    catch { // the storage is full, or forbidden
        return undefined;
    }
}
