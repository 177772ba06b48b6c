// Photos and annotations, kept in this browser (IndexedDB), so that nothing is lost when it is closed.

import type { PhotoEntry, SavedObject } from "../backend.js";

export type Annotation = Omit<SavedObject, "polygons">;
interface StoredPhoto extends PhotoEntry { file: Blob; added: number }

const VERSION = 1;

/** One site's store; two sites of one host have one each. */
export class Store {
  private constructor(private database: IDBDatabase) {}

  static async open(site: URL): Promise<Store> {
    const request = indexedDB.open(`pocketsam ${site.pathname}`, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("photos", { keyPath: "id" });
      request.result.createObjectStore("annotations");
    };
    return new Store(await result(request));
  }

  /** In the order in which they were added. */
  async photos(): Promise<StoredPhoto[]> {
    const all: StoredPhoto[] = await result(this.table("photos").getAll());
    return all.sort((a, b) => a.added - b.added);
  }

  async photo(id: string): Promise<StoredPhoto> {
    const found: StoredPhoto | undefined = await result(this.table("photos").get(id));
    if (!found) throw new Error("This photo was removed; add it again.");
    return found;
  }

  /** A photo that is there already stays where it is. */
  async add(photo: PhotoEntry, file: Blob): Promise<void> {
    const there = await result(this.table("photos").getKey(photo.id));
    if (!there) await this.write(this.table("photos", "readwrite").put({ ...photo, file, added: Date.now() }));
  }

  async annotations(id: string): Promise<Annotation[]> {
    return (await result(this.table("annotations").get(id))) ?? [];
  }

  /** Saves them in the place of those of a version; false if there are others by now. */
  async save(id: string, annotations: Annotation[], replaces: string): Promise<boolean> {
    const table = this.table("annotations", "readwrite");
    if (versionOf((await result(table.get(id))) ?? []) !== replaces) return false;
    await this.write(table.put(annotations, id));
    return true;
  }

  /** Removes all photos and annotations. */
  async clear(): Promise<void> {
    for (const name of ["photos", "annotations"]) await result(this.table(name, "readwrite").clear());
  }

  private table(name: string, mode: IDBTransactionMode = "readonly"): IDBObjectStore {
    return this.database.transaction(name, mode).objectStore(name);
  }

  /** Resolves when what was written cannot be lost. */
  private async write(request: IDBRequest): Promise<void> {
    await new Promise<void>((done, failed) => {
      const transaction = request.transaction!;
      transaction.oncomplete = () => done();
      transaction.onabort = transaction.onerror = () => failed(
        transaction.error?.name === "QuotaExceededError"
          ? new Error("The browser has no more room; export your annotations, then remove all photos (see the help).")
          : transaction.error,
      );
    });
  }
}

/** Two of one version are the same. */
export function versionOf(annotations: Annotation[]): string {
  return JSON.stringify(annotations);
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
}
