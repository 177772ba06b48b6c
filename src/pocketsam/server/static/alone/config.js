// What model.json says of a model: see pocketsam/config.py, whose names these are.
export const PADDING = -1, BACKGROUND = 0, FOREGROUND = 1, BOX_START = 2, BOX_END = 3;
