// Saving the objects of photos as one goes, so that nothing is lost: not when the page or its server ends, nor when
// somebody else saves objects of the same photo.
import { fromSaved, keyOf, toSave } from "./objects.js";
import { outlines } from "./outlines.js";
import { decode } from "./rle.js";
const RETRY = 2000; // milliseconds
/**
 * Saves the latest state of a photo, one request at a time; states in between are skipped. What is not saved yet is
 * kept as a draft in the browser, and tried again. A photo that is refused does not hold up the others.
 *
 * joined: gets what somebody else has changed of a photo, which is done to its own objects, too.
 */
export class Saver {
    backend;
    report;
    joined;
    waiting = new Map();
    bases = new Map();
    running = false;
    failure = ""; // what was reported last
    constructor(backend, report, joined) {
        this.backend = backend;
        this.report = report;
        this.joined = joined;
    }
    get busy() { return this.running || this.waiting.size > 0; }
    /** Whether changes of a photo are not saved yet. */
    waits(id) { return this.waiting.has(id); }
    /** The objects of a photo: what could not be saved before, or else those that were saved. */
    async open(id) {
        const saved = await this.backend().annotations(id);
        const waiting = this.waiting.get(id), draft = drafts.get(id);
        const base = waiting ? this.bases.get(id) : draft?.base;
        if (!base) {
            this.bases.set(id, baseOf(saved));
            return saved.objects.map(fromSaved);
        }
        const mine = waiting ?? draft.objects;
        this.bases.set(id, base.version === saved.version ? base : baseOf(saved));
        const all = withChange(mine, changeSince(base, saved, mine));
        this.save(id, all);
        return all;
    }
    /** Saves the objects of a photo that was opened. */
    save(id, objects) {
        const base = this.bases.get(id);
        if (!base)
            return;
        this.waiting.set(id, objects);
        drafts.keep(id, objects, base);
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
        const unlined = toSave(objects), base = attempted(this.bases.get(id), unlined);
        this.bases.set(id, base);
        drafts.keep(id, objects, base);
        const version = await this.backend().save(id, unlined, base.version);
        if (version === null)
            return this.join(id, base);
        this.bases.set(id, baseOf({ objects: unlined, version }));
        const waiting = this.waiting.get(id);
        if (waiting !== objects)
            return drafts.keep(id, waiting, this.bases.get(id)); // a later state
        this.waiting.delete(id);
        drafts.drop(id);
    }
    /** Does to what waits what somebody else has done. */
    async join(id, base) {
        const saved = await this.backend().annotations(id);
        const mine = this.waiting.get(id);
        const change = changeSince(base, saved, mine);
        this.bases.set(id, baseOf(saved));
        this.save(id, withChange(mine, change));
        this.joined(id, change);
    }
}
function baseOf({ objects, version }) {
    return { objects, version, sent: [], dropped: [] };
}
function attempted(base, objects) {
    const keys = objects.map(keyOf);
    const dropped = base.objects.map(keyOf).filter((key) => !keys.includes(key));
    return { ...base, sent: [...new Set([...base.sent, ...keys])], dropped: [...new Set([...base.dropped, ...dropped])] };
}
/** What others have done since `base` was saved, of which `mine` are made. */
function changeSince(base, saved, mine) {
    if (saved.version === base.version)
        return { added: [], removed: new Set() };
    const before = base.objects.map(keyOf), now = new Set(saved.objects.map(keyOf));
    const known = new Set([...before, ...base.sent, ...toSave(mine).map(keyOf)]);
    return {
        added: saved.objects.filter((one) => !known.has(keyOf(one))).map(fromSaved),
        removed: new Set(before.filter((key) => !now.has(key) && !base.dropped.includes(key))),
    };
}
/** The objects with what others have done. */
export function withChange(objects, { added, removed }) {
    const stays = (one) => toSave([one]).every((unlined) => !removed.has(keyOf(unlined)));
    return [...objects.filter(stays), ...added];
}
/** What was not saved when the page ended. The browser keeps it; where it cannot, the page still works. */
const drafts = {
    keep(id, objects, base) {
        attempt(() => localStorage.setItem(nameOf(id), JSON.stringify({ objects: toSave(objects), base })));
    },
    get(id) {
        return attempt(() => {
            const kept = JSON.parse(localStorage.getItem(nameOf(id)) ?? "null");
            const lined = (one) => ({ ...one, polygons: outlines(decode(one.rle)) });
            return kept && { objects: kept.objects.map(lined).map(fromSaved), base: kept.base };
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
