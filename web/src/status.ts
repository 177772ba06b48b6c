// What the page says: errors, what it is doing, and for screen readers what has happened.

export function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

let toastTimer = 0;

/** Shows a line for a few seconds; screen readers read it. */
export function toast(line: string): void {
  const toast = element("toast");
  toast.textContent = line;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => { toast.hidden = true; }, 6000);
}

/** Says a line to screen readers alone. */
export function announce(line: string): void {
  element("announcement").textContent = line;
}

/** Runs an action of the user, and shows its error. */
export async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if ((error as Error).name !== "AbortError") toast((error as Error).message);
  }
}

let latest = 0;
let stop: AbortController | null = null;

/** Shows a line while work lasts. */
export async function whileBusy<T>(line: string, work: Promise<T>): Promise<T> {
  const mine = ++latest;
  element("status-text").textContent = line;
  element("status").hidden = false;
  try {
    return await work;
  } finally {
    if (mine === latest) element("status").hidden = true;
  }
}

/** The same with a bar, for long work, and a button that ends it; it then rejects with an AbortError. */
export async function withProgress<T>(
  line: string, work: (report: (fraction: number) => void, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const bar = element<HTMLProgressElement>("status-bar");
  const mine = (stop = new AbortController());
  bar.value = 0;
  bar.hidden = element("status-cancel").hidden = false;
  try {
    return await whileBusy(line, work((fraction) => { bar.value = fraction; }, mine.signal));
  } finally {
    if (stop === mine) {
      stop = null;
      bar.hidden = element("status-cancel").hidden = true;
    }
  }
}

/** Ends the work that `withProgress` shows. False when there is none. */
export function cancelWork(): boolean {
  stop?.abort();
  return stop !== null;
}
