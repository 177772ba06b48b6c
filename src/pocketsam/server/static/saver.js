// Saving the objects of photos as one goes, so that nothing is lost: not when the page or its server ends, nor when
// somebody else saves objects of the same photo.
import { fromSaved, toSave } from "./objects.js";
import { outlines } from "./outlines.js";
import { decode } from "./rle.js";
const RETRY = 2000; // milliseconds
/**
 * Saves the latest state of a photo, one request at a time; states in between are skipped. What is not saved yet is
 * kept as a draft in the browser, and tried again. A photo that is refused does not hold up the others.
 *
 * joined: gets objects that somebody else has saved of a photo, which are kept beside its own.
 */
export class Saver {
    backend;
    report;
    joined;
    waiting = new Map();
    saved = new Map(); // as far as this page knows
    running = false;
    failure = ""; // what was reported last
    constructor(backend, report, joined) {
        this.backend = backend;
        this.report = report;
        this.joined = joined;
    }
    get busy() { return this.running || this.waiting.size > 0; }
    /** The objects of a photo: what could not be saved before, or else those that were saved. */
    async open(id) {
        const saved = await this.backend().annotations(id);
        const waiting = this.waiting.get(id), draft = drafts.get(id);
        const base = waiting ? this.saved.get(id) : draft?.base;
        this.saved.set(id, saved);
        if (!base)
            return saved.objects.map(fromSaved);
        const mine = waiting ?? draft.objects.map(fromSaved);
        const all = [...mine, ...added(saved, base, mine)];
        this.save(id, all);
        return all;
    }
    /** Saves the objects of a photo that was opened. */
    save(id, objects) {
        const base = this.saved.get(id);
        if (!base)
            return;
        this.waiting.set(id, objects);
        drafts.keep(id, objects, base.version);
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
        if (!this.failure)
            this.report("saving");
        const refused = new Map();
        const errors = [];
        const next = () => [...this.waiting].find(([id, objects]) => refused.get(id) !== objects);
        for (let one = next(); one; one = next()) {
            const [id, objects] = one;
            await this.saveOne(id, objects).catch((error) => {
                refused.set(id, objects);
                errors.push(error);
            });
        }
        this.running = false;
        this.conclude(errors.at(-1));
    }
    conclude(error) {
        if (!error)
            this.report("saved");
        else if (error.message !== this.failure)
            this.report(error);
        this.failure = error?.message ?? "";
        if (error)
            setTimeout(() => { if (!this.running)
                void this.run(); }, RETRY);
    }
    async saveOne(id, objects) {
        const base = this.saved.get(id), unlined = toSave(objects);
        const version = await this.backend().save(id, unlined, base.version);
        if (version === null)
            return this.join(id, base);
        this.saved.set(id, { objects: unlined, version });
        if (this.waiting.get(id) !== objects)
            return; // a later state is waiting
        this.waiting.delete(id);
        drafts.drop(id);
    }
    /** Adds what somebody else has saved to what waits. */
    async join(id, base) {
        const saved = await this.backend().annotations(id);
        const mine = this.waiting.get(id);
        const others = added(saved, base, mine);
        this.saved.set(id, saved);
        this.save(id, [...mine, ...others]);
        this.joined(id, others);
    }
}
/** The saved objects that are neither mine nor in what mine were made from. */
function added(saved, base, mine) {
    if (saved.version === base.version)
        return [];
    const keyOf = ({ name, rle }) => `${name} ${rle.counts}`;
    const known = new Set([...base.objects, ...toSave(mine)].map(keyOf));
    return saved.objects.filter((one) => !known.has(keyOf(one))).map(fromSaved);
}
/** What was not saved when the page ended. The browser keeps it; where it cannot, the page still works. */
const drafts = {
    keep(id, objects, version) {
        attempt(() => localStorage.setItem(nameOf(id), JSON.stringify({ objects: toSave(objects), version })));
    },
    get(id) {
        return attempt(() => {
            const kept = JSON.parse(localStorage.getItem(nameOf(id)) ?? "null");
            if (!kept)
                return null;
            const objects = kept.objects.map((one) => ({ ...one, polygons: outlines(decode(one.rle)) }));
            return { objects, base: { objects: [], version: kept.version } };
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
