// The model's graphs, run by ONNX Runtime Web. pocketsam/graphs.py is their contract, engines/onnx.py chains them too.
const GRAPHS = ["encoder", "decoder_prepare", "decoder_predict_iou", "decoder_masks"];
const TILE = 8; // prompts that are computed together, where there are many
const MASK_INPUTS = ["hypernetwork_weights", "cell_scale", "cell_coefficients", "cell_basis"];
export class Model {
    ort;
    config;
    device;
    sessions;
    predictIouFile;
    turn = Promise.resolve();
    tile = null;
    constructor(ort, config, device, sessions, predictIouFile) {
        this.ort = ort;
        this.config = config;
        this.device = device;
        this.sessions = sessions;
        this.predictIouFile = predictIouFile;
    }
    /** The model in a folder, which may take so many seconds to start. `report` gets the bytes that have come. */
    static async load(ort, folder, device, patience, report) {
        const progress = GRAPHS.map(() => ({ loaded: 0, total: 0 }));
        const sum = (key) => progress.reduce((all, one) => all + one[key], 0);
        const files = await Promise.all(GRAPHS.map((name, i) => download(new URL(`${name}.onnx`, folder), (one) => {
            progress[i] = one;
            report({ loaded: sum("loaded"), total: sum("total") });
        })));
        const { config } = await (await fetchFile(new URL("model.json", folder))).json();
        return within(patience, Model.start(ort, config, device, files));
    }
    static async start(ort, config, device, files) {
        const sessions = {};
        for (const [i, name] of GRAPHS.entries()) { // one by one: memory
            sessions[name] = await open(ort, files[i], 1, name === "encoder" ? device : "wasm");
        }
        const model = new Model(ort, config, device, sessions, files[2]);
        if (device === "webgpu")
            await model.warmUp();
        return model;
    }
    /** Has the GPU translate its programs before the first photo. Throws where it cannot run them. */
    async warmUp() {
        const { image_size: size } = this.config;
        const image = new this.ort.Tensor("float32", new Float32Array(3 * size * size), [1, 3, size, size]);
        const { image_embeddings } = await this.run(this.sessions.encoder, { image });
        if (!image_embeddings.data.every(Number.isFinite))
            throw new Error("its numbers are not finite");
    }
    /** An image (1, 3, S, S) to what the decoder needs of it. */
    async prepare(image) {
        const { image_size: size } = this.config;
        const { ort } = this;
        const { image_embeddings } = await this.run(this.sessions.encoder, {
            image: new ort.Tensor("float32", image, [1, 3, size, size]),
        });
        return this.run(this.sessions.decoder_prepare, {
            image_embeddings: image_embeddings,
            mask_input: new ort.Tensor("float32", new Float32Array((size / 4) ** 2), [1, 1, size / 4, size / 4]),
            has_mask_input: new ort.Tensor("float32", new Float32Array(1), [1]),
        });
    }
    /** The predicted IoU (4) and the logits (4, S/4, S/4) of one object's masks. */
    async segment(prepared, { points, labels }) {
        const prediction = await this.run(this.sessions.decoder_predict_iou, this.prompts(prepared, points, labels, 1));
        const logits = await this.decodeMasks(prepared, prediction);
        return { iou: prediction.iou_predictions.data, logits };
    }
    /** For everything mode. */
    decoder(prepared) {
        return {
            predictIou: (points, labels, objects) => this.predictIou(prepared, points, labels, objects),
            decodeMasks: (prediction) => this.decodeMasks(prepared, prediction),
        };
    }
    async predictIou(prepared, points, labels, objects) {
        const session = await (this.tile ??= open(this.ort, this.predictIouFile, TILE, "wasm"));
        const iou = new Float32Array(4 * objects);
        const rows = [];
        const length = labels.length / objects;
        for (let start = 0; start < objects; start += TILE) {
            const tile = { points: new Float32Array(2 * length * TILE), labels: new Int32Array(length * TILE).fill(-1) };
            tile.points.set(points.subarray(2 * length * start, 2 * length * (start + TILE)));
            tile.labels.set(labels.subarray(length * start, length * (start + TILE)));
            const found = await this.run(session, this.prompts(prepared, tile.points, tile.labels, TILE));
            const count = Math.min(TILE, objects - start);
            iou.set(found.iou_predictions.data.subarray(0, 4 * count), 4 * start);
            for (let i = 0; i < count; i++)
                rows.push(this.row(found, i));
        }
        return { iou, objects: rows };
    }
    /** What the masks of object i need. */
    row(found, i) {
        return Object.fromEntries(MASK_INPUTS.map((name) => {
            const { data, dims } = found[name];
            const size = data.length / dims[0];
            const part = data.subarray(i * size, (i + 1) * size);
            return [name, new this.ort.Tensor("float32", part, [1, ...dims.slice(1)])];
        }));
    }
    async decodeMasks(prepared, prediction) {
        const { low_res_masks } = await this.run(this.sessions.decoder_masks, { ...prepared, ...prediction });
        return low_res_masks.data;
    }
    prompts(prepared, points, labels, objects) {
        const { ort } = this;
        const length = labels.length / objects;
        return {
            ...prepared,
            point_coords: new ort.Tensor("float32", points, [objects, length, 2]),
            point_labels: new ort.Tensor("int32", labels, [objects, length]),
            sparse_embeddings: new ort.Tensor("float32", new Float32Array(), [objects, 0, 256]),
        };
    }
    /** Runs a graph on those of the tensors that it takes, when no other runs. */
    run(session, tensors) {
        const feeds = Object.fromEntries(session.inputNames.map((name) => [name, tensors[name]]));
        const result = this.turn.then(() => session.run(feeds));
        this.turn = result.catch(() => { });
        return result;
    }
}
/** A session for a number of objects, with which nearly all shapes are known. */
function open(ort, file, objects, device) {
    return ort.InferenceSession.create(file, {
        executionProviders: [device],
        freeDimensionOverrides: { objects },
        logSeverityLevel: 3,
    });
}
/** The result of work that may take so many seconds. */
function within(seconds, work) {
    if (seconds === Infinity)
        return work;
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`it takes more than ${seconds} s`)), 1000 * seconds));
    return Promise.race([work, late]);
}
async function fetchFile(url) {
    const response = await fetch(url).catch(() => null);
    if (!response?.ok)
        throw new Error(`The model cannot be loaded: ${url.pathname.split("/").at(-1)} does not come. Check the connection and reload the page.`);
    return response;
}
async function download(url, report) {
    const response = await fetchFile(url);
    const total = Number(response.headers.get("Content-Length") ?? 0);
    const pieces = [];
    let loaded = 0;
    for (const reader = response.body.getReader();;) {
        const { done, value } = await reader.read();
        if (done)
            break;
        pieces.push(value);
        loaded += value.length;
        report({ loaded, total: Math.max(total, loaded) });
    }
    const file = new Uint8Array(loaded);
    let at = 0;
    for (const piece of pieces) {
        file.set(piece, at);
        at += piece.length;
    }
    return file;
}
