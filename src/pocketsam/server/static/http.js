// The backend of the page of `pocketsam serve`: its HTTP API. /api/ describes it.
const BUSY = [429, 503];
const CHANGED = 412;
class Refused extends Error {
    status;
    constructor(status, line) {
        super(line);
        this.status = status;
    }
}
async function send(method, path, { body, signal, headers = {} } = {}) {
    const raw = body instanceof Blob;
    const type = body === undefined ? {} : { "Content-Type": raw ? "application/octet-stream" : "application/json" };
    return fetch(`/api/${path}`, {
        method,
        headers: { ...type, ...headers },
        body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
        signal,
    }).catch((error) => {
        if (signal?.aborted)
            throw error;
        throw new Error("The server does not answer. Is “pocketsam serve” still running?");
    });
}
/** The response; a request that comes while the server is busy is sent again when it says. */
async function call(method, path, content = {}) {
    const response = await send(method, path, content);
    if (BUSY.includes(response.status)) {
        await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
        return call(method, path, content);
    }
    if (!response.ok) {
        const { error } = await response.json().catch(() => ({ error: response.statusText }));
        throw new Refused(response.status, error);
    }
    return response;
}
async function json(method, path, body) {
    return (await call(method, path, { body })).json();
}
/** The server-sent events of a response, each with its name and its data. */
async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
        text += part.value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
            const fields = new Map(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
            yield [fields.get("event"), JSON.parse(fields.get("data"))];
        }
    }
}
async function everything(id, report, signal) {
    for await (const [name, data] of events(await call("POST", `photos/${id}/everything/events`, { body: {}, signal }))) {
        if (name === "progress")
            report(data.fraction);
        if (name === "error")
            throw new Error(data.error);
        if (name === "masks")
            return data.masks;
    }
    throw new Error("The server stopped before all objects were found; try again.");
}
async function preview(id, prompt) {
    const body = { objects: [prompt], include: ["polygons"], preview: true };
    const response = await send("POST", `photos/${id}/masks`, { body });
    if (!response.ok)
        return null;
    return (await response.json()).masks[0].polygons;
}
async function file(path, suffix) {
    const response = await call("GET", `${path}?suffix=${encodeURIComponent(suffix)}`);
    const name = response.headers.get("Content-Disposition")?.split("''")[1] ?? `masks${suffix}`;
    return new File([await response.blob()], decodeURIComponent(name));
}
async function annotations(id) {
    const response = await call("GET", `photos/${id}/annotations`);
    const { objects } = (await response.json());
    return { objects, version: response.headers.get("ETag") };
}
async function save(id, objects, replaces) {
    try {
        const content = { body: { objects }, headers: { "If-Match": replaces } };
        return (await call("PUT", `photos/${id}/annotations`, content)).headers.get("ETag");
    }
    catch (error) {
        if (error instanceof Refused && error.status === CHANGED)
            return null;
        throw error;
    }
}
export const http = {
    model: () => json("GET", "model"),
    photos: () => json("GET", "photos"),
    upload: (file) => json("POST", `photos?name=${encodeURIComponent(file.name || "pasted.png")}`, file),
    openPhoto: (id) => json("GET", `photos/${id}`),
    picture: async (id) => (await call("GET", `photos/${id}/image`)).blob(),
    annotations,
    save,
    segment: async (id, prompt) => {
        const body = { objects: [prompt], zoom: true, refine: true }; // a preview has no time for these
        return (await json("POST", `photos/${id}/masks`, body)).masks[0];
    },
    preview,
    everything,
    exportAs: (id, suffix) => file(`photos/${id}/export`, suffix),
    exportAll: (suffix) => file("export", suffix),
};
