// Saving the objects of photos as one goes, so that nothing is lost: not when the page or its server ends, nor when
// somebody else saves objects of the same photo.

import { fromSaved, keyOf, toSave, type PhotoObject, type Unlined } from "./objects.js";
import type { Backend, Saved, SavedObject } from "./backend.js";
import { outlines } from "./outlines.js";
import { decode } from "./rle.js";

/** An error: not saved; the next try comes by itself. */
export type State = "saving" | "saved" | Error;

/** What somebody else has done to the objects of a photo. removed: what `keyOf` gives of them. */
export interface Change { added: readonly PhotoObject[]; removed: ReadonlySet<string> }

/**
 * The saved annotations that the page's own are made from. sent, dropped: the objects that requests contained, and
 * those of these that they did not, since these were known to be saved: their answers may have been lost.
 */
interface Base { objects: readonly Unlined[]; version: string; sent: readonly string[]; dropped: readonly string[] }

const RETRY = 2000; // milliseconds

/**
 * Saves the latest state of a photo, one request at a time; states in between are skipped. What is not saved yet is
 * kept as a draft in the browser, and tried again. A photo that is refused does not hold up the others.
 *
 * joined: gets what somebody else has changed of a photo, which is done to its own objects, too.
 */
export class Saver {
  private waiting = new Map<string, readonly PhotoObject[]>();
  private bases = new Map<string, Base>();
  private running = false;
  private failure = ""; // what was reported last

  constructor(
    private backend: () => Pick<Backend, "annotations" | "save">,
    private report: (state: State) => void,
    private joined: (id: string, change: Change) => void,
  ) {}

  get busy(): boolean { return this.running || this.waiting.size > 0; }

  /** Whether changes of a photo are not saved yet. */
  waits(id: string): boolean { return this.waiting.has(id); }

  /** The objects of a photo: what could not be saved before, or else those that were saved. */
  async open(id: string): Promise<readonly PhotoObject[]> {
    const saved = await this.backend().annotations(id);
    const waiting = this.waiting.get(id), draft = drafts.get(id);
    const base = waiting ? this.bases.get(id)! : draft?.base;
    if (!base) {
      this.bases.set(id, baseOf(saved));
      return saved.objects.map(fromSaved);
    }
    const mine = waiting ?? draft!.objects;
    this.bases.set(id, base.version === saved.version ? base : baseOf(saved));
    const all = withChange(mine, changeSince(base, saved, mine));
    this.save(id, all);
    return all;
  }

  /** Saves the objects of a photo that was opened. */
  save(id: string, objects: readonly PhotoObject[]): void {
    const base = this.bases.get(id);
    if (!base) return;
    this.waiting.set(id, objects);
    drafts.keep(id, objects, base);
    if (!this.running) void this.run();
  }

  /** Resolves when all is saved, or cannot be saved now. */
  async idle(): Promise<void> {
    while (this.running) await new Promise((done) => setTimeout(done, 20));
  }

  private async run(): Promise<void> {
    this.running = true;
    if (!this.failure) this.report("saving");
    const refused = new Map<string, readonly PhotoObject[]>();
    const errors: Error[] = [];
    const next = () => [...this.waiting].find(([id, objects]) => refused.get(id) !== objects);
    for (let one = next(); one; one = next()) {
      const [id, objects] = one;
      await this.saveOne(id, objects).catch((error: Error) => {
        refused.set(id, objects);
        errors.push(error);
      });
    }
    this.running = false;
    this.conclude(errors.at(-1));
  }

  private conclude(error: Error | undefined): void {
    if (!error) this.report("saved");
    else if (error.message !== this.failure) this.report(error);
    this.failure = error?.message ?? "";
    if (error) setTimeout(() => { if (!this.running) void this.run(); }, RETRY);
  }

  private async saveOne(id: string, objects: readonly PhotoObject[]): Promise<void> {
    const unlined = toSave(objects), base = attempted(this.bases.get(id)!, unlined);
    this.bases.set(id, base);
    drafts.keep(id, objects, base);
    const version = await this.backend().save(id, unlined, base.version);
    if (version === null) return this.join(id, base);
    this.bases.set(id, baseOf({ objects: unlined, version }));
    const waiting = this.waiting.get(id)!;
    if (waiting !== objects) return drafts.keep(id, waiting, this.bases.get(id)!); // a later state
    this.waiting.delete(id);
    drafts.drop(id);
  }

  /** Does to what waits what somebody else has done. */
  private async join(id: string, base: Base): Promise<void> {
    const saved = await this.backend().annotations(id);
    const mine = this.waiting.get(id)!;
    const change = changeSince(base, saved, mine);
    this.bases.set(id, baseOf(saved));
    this.save(id, withChange(mine, change));
    this.joined(id, change);
  }
}

function baseOf({ objects, version }: { objects: readonly Unlined[]; version: string }): Base {
  return { objects, version, sent: [], dropped: [] };
}

function attempted(base: Base, objects: readonly Unlined[]): Base {
  const keys = objects.map(keyOf);
  const dropped = base.objects.map(keyOf).filter((key) => !keys.includes(key));
  return { ...base, sent: [...new Set([...base.sent, ...keys])], dropped: [...new Set([...base.dropped, ...dropped])] };
}

/** What others have done since `base` was saved, of which `mine` are made. */
function changeSince(base: Base, saved: Saved, mine: readonly PhotoObject[]): Change {
  if (saved.version === base.version) return { added: [], removed: new Set() };
  const before = base.objects.map(keyOf), now = new Set(saved.objects.map(keyOf));
  const known = new Set([...before, ...base.sent, ...toSave(mine).map(keyOf)]);
  return {
    added: saved.objects.filter((one) => !known.has(keyOf(one))).map(fromSaved),
    removed: new Set(before.filter((key) => !now.has(key) && !base.dropped.includes(key))),
  };
}

/** The objects with what others have done. */
export function withChange(objects: readonly PhotoObject[], { added, removed }: Change): readonly PhotoObject[] {
  const stays = (one: PhotoObject) => toSave([one]).every((unlined) => !removed.has(keyOf(unlined)));
  return [...objects.filter(stays), ...added];
}

/** What was not saved when the page ended. The browser keeps it; where it cannot, the page still works. */
const drafts = {
  keep(id: string, objects: readonly PhotoObject[], base: Base): void {
    attempt(() => localStorage.setItem(nameOf(id), JSON.stringify({ objects: toSave(objects), base })));
  },
  get(id: string): { objects: readonly PhotoObject[]; base: Base } | null {
    return attempt(() => {
      const kept = JSON.parse(localStorage.getItem(nameOf(id)) ?? "null") as { objects: Unlined[]; base: Base } | null;
      const lined = (one: Unlined): SavedObject => ({ ...one, polygons: outlines(decode(one.rle)) });
      return kept && { objects: kept.objects.map(lined).map(fromSaved), base: kept.base };
    }) ?? null;
  },
  drop(id: string): void {
    attempt(() => localStorage.removeItem(nameOf(id)));
  },
};

const nameOf = (id: string) => `pocketsam draft ${id}`;

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch { // the storage is full, or forbidden
    return undefined;
  }
}
