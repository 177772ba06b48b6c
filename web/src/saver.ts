// Saving the objects of photos as one goes, so that nothing is lost when the page or its server ends.

import { toSave, type PhotoObject } from "./objects.js";
import type { SavedObject } from "./backend.js";
import { outlines } from "./outlines.js";
import { decode } from "./rle.js";

/** An error: not saved; the next try comes by itself. */
export type State = "saving" | "saved" | Error;

const RETRY = 2000; // milliseconds

/**
 * Saves the latest state of a photo, one request at a time; states in between are skipped. What is not saved yet is
 * kept as a draft in the browser, and tried again.
 */
export class Saver {
  private waiting = new Map<string, readonly PhotoObject[]>();
  private running = false;
  private failed = false;

  constructor(
    private write: (id: string, objects: readonly PhotoObject[]) => Promise<void>,
    private report: (state: State) => void,
  ) {}

  get busy(): boolean { return this.running || this.waiting.size > 0; }

  save(id: string, objects: readonly PhotoObject[]): void {
    this.waiting.set(id, objects);
    drafts.keep(id, objects);
    if (!this.running) void this.run();
  }

  /** Resolves when all is saved, or cannot be saved now. */
  async idle(): Promise<void> {
    while (this.running) await new Promise((done) => setTimeout(done, 20));
  }

  private async run(): Promise<void> {
    this.running = true;
    if (!this.failed) this.report("saving");
    try {
      for (let next = this.next(); next; next = this.next()) await this.saveOne(...next);
      this.failed = false;
      this.report("saved");
    } catch (error) {
      if (!this.failed) this.report(error as Error);
      this.failed = true;
      setTimeout(() => { if (!this.running) void this.run(); }, RETRY);
    } finally {
      this.running = false;
    }
  }

  private next(): [string, readonly PhotoObject[]] | undefined {
    return this.waiting.entries().next().value;
  }

  private async saveOne(id: string, objects: readonly PhotoObject[]): Promise<void> {
    await this.write(id, objects);
    if (this.waiting.get(id) !== objects) return; // a later state is waiting
    this.waiting.delete(id);
    drafts.drop(id);
  }
}

/** What was not saved when the page ended. The browser keeps it; where it cannot, the page still works. */
export const drafts = {
  keep(id: string, objects: readonly PhotoObject[]): void {
    attempt(() => localStorage.setItem(nameOf(id), JSON.stringify(toSave(objects))));
  },
  get(id: string): SavedObject[] | null {
    return attempt(() => {
      const kept = JSON.parse(localStorage.getItem(nameOf(id)) ?? "null") as Omit<SavedObject, "polygons">[] | null;
      return kept && kept.map((one) => ({ ...one, polygons: outlines(decode(one.rle)) }));
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
