// The mask under the pointer, before a click. Only one is asked for at a time, for the latest place; clicks come first.

import type { Polygons } from "./backend.js";

const PAUSE = 30; // milliseconds between two requests

export class Preview {
  private running = false;
  private wanted: (() => Promise<Polygons | null>) | null = null;
  private turn = 0;

  /** show: draws the outlines of a mask, or nothing. */
  constructor(private show: (polygons: Polygons | null) => void) {}

  /** Asks for the mask at the latest place; a place before that was not asked for yet is skipped. */
  ask(find: () => Promise<Polygons | null>): void {
    this.wanted = find;
    if (!this.running) void this.run();
  }

  /** Leaves what is shown as it is until `clear`, as when a click has asked for the same. */
  hold(): void {
    this.wanted = null;
    this.turn++;
  }

  /** Shows nothing; an answer that comes later is left out. */
  clear(): void {
    this.wanted = null;
    this.turn++;
    this.show(null);
  }

  private async run(): Promise<void> {
    this.running = true;
    while (this.wanted) {
      const [find, turn] = [this.wanted, this.turn];
      this.wanted = null;
      const found = await find().catch(() => null);
      if (turn === this.turn) this.show(found);
      await new Promise((done) => setTimeout(done, PAUSE));
    }
    this.running = false;
  }
}
