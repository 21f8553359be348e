// A websocket that comes back by itself: 0.5 s, doubling up to 15 s, with some chance in it so that a
// thousand pages do not return in the same moment.
import { reachAnswer, reachLost } from "./reach.js";

const FIRST_MS = 500;
const LONGEST_MS = 15000;
const NOT_FOUND = 4404;
const FORBIDDEN = 4403;
const SIGNED_OUT = 4401;
// A restart of the web process is over sooner; nobody needs to be told of it.
const TOLD_AFTER = 3;

/**
 * url() is asked anew for every connection, so that it can carry cursors. onState gets "open", "lost" or
 * "closed" (for good). Returns {close}.
 */
export function socketOpen({ url, onFrame, onState }) {
  let socket = null;
  let timer = 0;
  let failures = 0;
  let closed = false;

  function connect() {
    const address = new URL(url(), window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(address);
    socket.onopen = () => {
      failures = 0;
      onState("open");
    };
    socket.onmessage = (event) => onFrame(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (closed) return;
      if ([NOT_FOUND, FORBIDDEN, SIGNED_OUT].includes(event.code)) {
        if (event.code === SIGNED_OUT) reachAnswer(401);
        onState("closed");
        return;
      }
      onState("lost");
      const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** failures) * (0.75 + Math.random() / 2);
      failures += 1;
      if (failures === TOLD_AFTER) reachLost();
      timer = window.setTimeout(connect, wait);
    };
  }

  function now() {
    if (closed || (socket && socket.readyState <= WebSocket.OPEN)) return;
    window.clearTimeout(timer);
    connect();
  }

  // A connection that is dead may look open for minutes; what the server's silence has shown counts more.
  document.addEventListener("lf:away", () => !closed && onState("lost"));
  document.addEventListener("lf:reached", () => !closed && socket.readyState === WebSocket.OPEN && onState("open"));
  window.addEventListener("online", now);
  document.addEventListener("lf:reached", now);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && now());
  connect();
  return {
    close() {
      closed = true;
      window.clearTimeout(timer);
      socket.close();
    },
  };
}
