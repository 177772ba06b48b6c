// The mask under the pointer, before a click. Only one is asked for at a time, for the latest place; clicks come first.
const PAUSE = 30; // milliseconds between two requests
export class Preview {
    show;
    running = false;
    wanted = null;
    turn = 0;
    /** show: draws the outlines of a mask, or nothing. */
    constructor(show) {
        this.show = show;
    }
    /** Asks for the mask at the latest place; a place before that was not asked for yet is skipped. */
    ask(find) {
        this.wanted = find;
        if (!this.running)
            void this.run();
    }
    /** Leaves what is shown as it is until `clear`, as when a click has asked for the same. */
    hold() {
        this.wanted = null;
        this.turn++;
    }
    /** Shows nothing; an answer that comes later is left out. */
    clear() {
        this.wanted = null;
        this.turn++;
        this.show(null);
    }
    async run() {
        this.running = true;
        while (this.wanted) {
            const [find, turn] = [this.wanted, this.turn];
            this.wanted = null;
            const found = await find().catch(() => null);
            if (turn === this.turn)
                this.show(found);
            await new Promise((done) => setTimeout(done, PAUSE));
        }
        this.running = false;
    }
}
