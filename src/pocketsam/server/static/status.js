// What the page says: errors, what it is doing, and for screen readers what has happened.
export function element(id) {
    return document.getElementById(id);
}
let toastTimer = 0;
/** Shows a line for a few seconds; screen readers read it. */
export function toast(line) {
    const toast = element("toast");
    toast.textContent = line;
    toast.hidden = false;
    clearTimeout(toastTimer);
    toastTimer = window.setTimeout(() => { toast.hidden = true; }, 6000);
}
/** Says a line to screen readers alone. */
export function announce(line) {
    element("announcement").textContent = line;
}
/** Runs an action of the user, and shows its error. */
export async function attempt(work) {
    try {
        await work();
    }
    catch (error) {
        if (error.name !== "AbortError")
            toast(error.message);
    }
}
let latest = 0;
let stop = null;
/** Shows a line while work lasts. */
export async function whileBusy(line, work) {
    const mine = ++latest;
    element("status-text").textContent = line;
    element("status").hidden = false;
    try {
        return await work;
    }
    finally {
        if (mine === latest)
            element("status").hidden = true;
    }
}
/** The same with a bar, for long work, and a button that ends it; it then rejects with an AbortError. */
export async function withProgress(line, work) {
    const bar = element("status-bar");
    const mine = (stop = new AbortController());
    bar.value = 0;
    bar.hidden = element("status-cancel").hidden = false;
    try {
        return await whileBusy(line, work((fraction) => { bar.value = fraction; }, mine.signal));
    }
    finally {
        if (stop === mine) {
            stop = null;
            bar.hidden = element("status-cancel").hidden = true;
        }
    }
}
/** Ends the work that `withProgress` shows. False when there is none. */
export function cancelWork() {
    stop?.abort();
    return stop !== null;
}
