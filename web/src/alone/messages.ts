// What the page and the worker send each other.

import type { Mask, PhotoDetails, Prompt } from "../backend.js";
import type { Progress } from "./model.js";

/** The worker's methods. */
export interface Work {
  open(id: string): PhotoDetails;
  segment(id: string, prompt: Prompt): Mask;
  everything(id: string): Mask[];
}

/** How the worker is set up: where the site is, and how many threads it may use. */
export interface Setup { site: string; threads: number }

export type Request =
  | { [M in keyof Work]: { call: number; method: M; arguments: Parameters<Work[M]> } }[keyof Work]
  | { cancel: number };

export type Reply =
  | { call: number; result: unknown }
  | { call: number; error: string }
  | { call: number; done: number }
  | { loading: Progress }
  | { ready: string }
  | { failed: string };
