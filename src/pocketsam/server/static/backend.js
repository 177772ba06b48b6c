// What the page needs of the model and of the place where photos and annotations are: an HTTP server (http.ts), or
// another implementation of `Backend`. Coordinates are (x, y) in pixels of the upright photo.
export {};
