// What a session has sent, so that a client that lost a stream can have the rest of it.

/** Events that one session keeps; older ones are forgotten. */
const MAX_EVENTS = 1000;

export class EventLog {
  #events = new Map();
  #next = 0;

  async storeEvent(stream, message) {
    const id = String(this.#next++);
    this.#events.set(id, { stream, message });
    if (this.#events.size > MAX_EVENTS) this.#events.delete(this.#events.keys().next().value);
    return id;
  }

  async getStreamIdForEventId(id) {
    return this.#events.get(id)?.stream;
  }

  /** Sends what came on the same stream after the event `last`; the events are in the order in which they were stored. */
  async replayEventsAfter(last, { send }) {
    const stream = this.#events.get(last)?.stream;
    if (stream === undefined) throw new Error(`no event ${last} is kept`);
    for (const [id, event] of this.#events) {
      if (event.stream !== stream || Number(id) <= Number(last)) continue;
      // A stream opens with an event without a message, which is not sent again.
      if (Object.keys(event.message).length > 0) await send(id, event.message);
    }
    return stream;
  }
}
