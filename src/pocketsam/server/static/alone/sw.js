"use strict";
// The service worker: the site works offline after the first visit, and its pages may use threads.
//
// `pocketsam export web` writes FILES and VERSION before this script. The large files, of which each browser needs some
// only, are kept when they are first fetched; the small ones at once.
const worker = self;
const scope = worker.registration.scope;
const PREFIX = `pocketsam ${scope} `; // other sites of this host have caches of their own
const NAME = PREFIX + VERSION;
// A page that sends these is isolated, so that it may share memory between threads.
const HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
};
async function ourCaches() {
    return (await caches.keys()).filter((name) => name.startsWith(PREFIX));
}
/** Fetches the small files, and those large ones that the version before had: offline, the new one works at once. */
async function install() {
    const cache = await caches.open(NAME);
    const addresses = new Set(FILES.map((file) => new URL(file, scope).href));
    for (const name of await ourCaches()) {
        for (const { url } of await (await caches.open(name)).keys())
            addresses.add(url);
    }
    await Promise.all([...addresses].map(async (address) => {
        const response = await fetch(address, { cache: "no-cache" });
        if (response.ok)
            await cache.put(address, response);
        else if (response.status !== 404)
            throw new Error(`${address}: ${response.status}`); // the new version may have fewer
    }));
}
async function activate() {
    for (const name of await ourCaches())
        if (name !== NAME)
            await caches.delete(name);
    await worker.clients.claim();
}
async function answer(request) {
    const url = new URL(request.url);
    const address = url.origin + (url.pathname.endsWith("/") ? `${url.pathname}index.html` : url.pathname);
    const cache = await caches.open(NAME);
    let response = await cache.match(address);
    if (!response) {
        response = await fetch(request);
        if (response.ok && !response.redirected)
            await cache.put(address, response.clone());
    }
    return new Response(response.body, {
        status: response.status,
        statusText: response.statusText,
        headers: { ...Object.fromEntries(response.headers), ...HEADERS },
    });
}
worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("fetch", (event) => {
    const { method, url } = event.request;
    if (method === "GET" && url.startsWith(scope))
        event.respondWith(answer(event.request));
});
