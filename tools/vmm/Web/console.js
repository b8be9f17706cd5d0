// The guest's consoles in the page.

import { attach, call } from "./api.js";
import { element, say } from "./text.js";
import { Terminal } from "./xterm.mjs";

const FONT = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace', FONT_SIZE = 14, ROWS = 24;
const COLUMNS_MIN = 20, COLUMNS_MAX = 200, PADDING = 34;
/** A message that the other end still takes as one. */
const MESSAGE_MAX = 4096;

// The policy of the page refuses style elements and style attributes, and xterm uses both. The same rules as objects are allowed,
// and so is a style element with nothing in it.
const sheets = new WeakMap();
Object.defineProperty(HTMLStyleElement.prototype, "textContent", {
  configurable: true,
  set(text) {
    if (!sheets.has(this)) {
      sheets.set(this, new CSSStyleSheet());
      document.adoptedStyleSheets.push(sheets.get(this));
    }
    sheets.get(this).replaceSync(text);
  },
});
HTMLSpanElement.prototype.setAttribute = function (name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
};

/** Columns of this font that an element is wide. */
function columnsOf(box) {
  const paint = element("canvas").getContext("2d");
  paint.font = `${FONT_SIZE}px ${FONT}`;
  const columns = Math.floor((box.clientWidth - PADDING) / paint.measureText("W").width);
  return Math.min(Math.max(columns, COLUMNS_MIN), COLUMNS_MAX);
}

export class Consoles {
  #box = document.getElementById("terminal-box");
  #place = document.getElementById("terminal");
  #tabs = document.getElementById("console-tabs");
  #status = document.getElementById("console-status");
  #sizeButton = document.getElementById("console-size");
  #terminal = null;
  #socket = null;
  #name = null;

  constructor() {
    this.#sizeButton.addEventListener("click", () => this.#giveSize());
  }

  /** Shows a console; without a name the first. */
  async show(name) {
    const { consoles } = await call("GET", "/v1/consoles");
    document.getElementById("no-consoles").hidden = consoles.length > 0;
    this.#box.hidden = consoles.length === 0;
    const chosen = consoles.find(console => console.name === name) ?? consoles[0];
    this.#tabs.replaceChildren(...consoles.map(console => {
      const tab = element("button", { type: "button", "aria-pressed": String(console === chosen) }, `${console.name} (${console.kind})`);
      tab.addEventListener("click", () => { location.hash = `#/consoles/${encodeURIComponent(console.name)}`; });
      return tab;
    }));
    if (!chosen) return;
    this.#sizeButton.hidden = chosen.kind !== "virtio";
    if (this.#name !== chosen.name || this.#socket?.readyState !== WebSocket.OPEN) this.#attach(chosen);
    this.#terminal.focus();
  }

  #attach(console) {
    this.#socket?.close();
    this.#terminal?.dispose();
    this.#name = console.name;
    const terminal = this.#terminal = new Terminal({
      cols: columnsOf(this.#box), rows: ROWS, fontFamily: FONT, fontSize: FONT_SIZE, scrollback: 5000, cursorBlink: false,
      theme: { background: "#101316", foreground: "#e6e9ec" }, screenReaderMode: false,
    });
    terminal.open(this.#place);
    terminal.textarea.setAttribute("aria-label", `Console ${console.name}: type to the guest; Shift and Escape leave`);
    // Tab is the guest's: another key leaves the terminal.
    terminal.attachCustomKeyEventHandler(key => {
      if (key.key !== "Escape" || !key.shiftKey) return true;
      if (key.type === "keydown") this.#tabs.querySelector("[aria-pressed=true]").focus();
      return false;
    });
    const socket = this.#socket = attach(console.name);
    const note = text => { if (socket === this.#socket) say(this.#status, text); };
    note(`attaching to ${console.name} …`);
    socket.onopen = () => note(`attached to ${console.name}; ${console.takesInput ? "" : "it takes no input; "}Shift-Esc leaves the terminal`);
    socket.onmessage = message => terminal.write(new Uint8Array(message.data));
    socket.onclose = closed => note(`detached from ${console.name}: ${closed.reason || "the connection is gone"}`);
    const send = bytes => {
      if (socket.readyState !== WebSocket.OPEN) return;
      for (let at = 0; at < bytes.length; at += MESSAGE_MAX) socket.send(bytes.subarray(at, at + MESSAGE_MAX));
    };
    terminal.onData(text => send(new TextEncoder().encode(text)));
    terminal.onBinary(text => send(Uint8Array.from(text, letter => letter.charCodeAt(0))));
  }

  async #giveSize() {
    const { cols: columns, rows } = this.#terminal;
    try {
      await call("PATCH", `/v1/devices/${encodeURIComponent(this.#name)}`, { columns, rows });
      say(this.#status, `the guest's terminal has ${columns} columns and ${rows} rows`);
    } catch (refused) {
      say(this.#status, refused.message);
    }
    this.#terminal.focus();
  }
}
