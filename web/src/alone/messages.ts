// What the page and the worker send each other.

import type { Mask, PhotoDetails, Prompt } from "../backend.js";
import type { Progress } from "./model.js";

/** The worker's methods. */
export interface Work {
  open(id: string): PhotoDetails;
  segment(id: string, prompt: Prompt): Mask;
  everything(id: string): Mask[];
}

/**
 * How the worker is set up: where the site is, how many threads it may use, and which GPU: a real one, also one that is emulated, or none.
 */
export interface Setup { site: string; threads: number; gpu: "real" | "any" | "no" }

/** What computes: the model's name, whether the encoder runs on the GPU, and how many threads the rest has. */
export interface Ready { name: string; gpu: boolean; threads: number }

export type Request =
  | { [M in keyof Work]: { call: number; method: M; arguments: Parameters<Work[M]> } }[keyof Work]
  | { cancel: number };

export type Reply =
  | { call: number; result: unknown }
  | { call: number; error: string }
  | { call: number; done: number }
  | { loading: Progress }
  | { ready: Ready }
  | { failed: string };
