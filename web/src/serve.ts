// The page of `pocketsam serve`.

import { http } from "./http.js";
import { start } from "./main.js";

start(http);
