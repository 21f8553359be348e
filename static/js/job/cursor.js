// A cursor is "<attempt>:<position>"; a later attempt begins at 0.
export class Cursor {
  constructor(textOrNothing = "") {
    const [attempt, position] = (textOrNothing || "0:0").split(":").map(Number);
    this.attempt = attempt || 0;
    this.position = position || 0;
  }

  toString() {
    return this.attempt ? `${this.attempt}:${this.position}` : "";
  }

  /** Where a piece [from, to) of an attempt stands: "next", "old", "overlap", or "gap" before it. */
  place(attempt, from, to) {
    if (attempt < this.attempt) return "old";
    if (attempt > this.attempt) return from === 0 ? "next" : "gap";
    if (to < this.position || (to === this.position && from < to)) return "old";
    if (from === this.position) return "next";
    return from > this.position ? "gap" : "overlap";
  }

  move(attempt, position) {
    this.attempt = attempt;
    this.position = position;
  }
}
