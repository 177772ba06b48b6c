// The server's API, as the page uses it. /api/openapi.json describes it.
async function call(method, path, body) {
    const raw = body instanceof Blob;
    const response = await fetch(`/api/${path}`, {
        method,
        headers: body === undefined ? {} : { "Content-Type": raw ? "application/octet-stream" : "application/json" },
        body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    }).catch(() => {
        throw new Error("The server does not answer. Is “pocketsam serve” still running?");
    });
    if (response.status === 429) {
        await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
        return call(method, path, body);
    }
    if (!response.ok) {
        const { error } = await response.json().catch(() => ({ error: response.statusText }));
        throw new Error(error);
    }
    return response;
}
async function json(method, path, body) {
    return (await call(method, path, body)).json();
}
export const model = () => json("GET", "model");
export const photos = () => json("GET", "photos");
export const upload = (file) => json("POST", `photos?name=${encodeURIComponent(file.name || "pasted.png")}`, file);
export const openPhoto = (id) => json("GET", `photos/${id}`);
export const picture = async (id) => (await call("GET", `photos/${id}/image`)).blob();
export const annotations = async (id) => (await json("GET", `photos/${id}/annotations`)).objects;
export const save = async (id, objects) => {
    await call("PUT", `photos/${id}/annotations`, { objects });
};
export const masks = async (id, prompt) => (await json("POST", `photos/${id}/masks`, { objects: [prompt] })).masks[0];
export const everything = async (id) => (await json("POST", `photos/${id}/everything`, {})).masks;
export const exported = async (id, suffix) => {
    const response = await call("GET", `photos/${id}/export?suffix=${encodeURIComponent(suffix)}`);
    const name = response.headers.get("Content-Disposition")?.split("''")[1] ?? `masks${suffix}`;
    return new File([await response.blob()], decodeURIComponent(name));
};
