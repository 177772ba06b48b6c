// A photo file as the model gets it: upright, on white, its colours as they are in the file.
const MOST_PIXELS = 100_000_000;
/** Its pixels. Throws an Error when this browser cannot read it. */
export async function readPhoto(file, name) {
    const bitmap = await decode(file, name);
    const { width, height } = bitmap;
    try {
        if (width * height > MOST_PIXELS)
            throw new Error(`${name} has more than ${MOST_PIXELS / 1e6} million pixels; make it smaller first.`);
        const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true });
        context.fillStyle = "#ffffff";
        context.fillRect(0, 0, width, height);
        context.drawImage(bitmap, 0, 0);
        return { data: context.getImageData(0, 0, width, height).data, width, height, channels: 4 };
    }
    finally {
        bitmap.close();
    }
}
/** The photo, decoded. */
export async function decode(file, name) {
    try {
        return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    }
    catch {
        throw new Error(`${name} is not an image that this browser can read.`);
    }
}
