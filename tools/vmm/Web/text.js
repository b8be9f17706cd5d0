// Numbers as people read them, and elements with texts. Texts of guests and devices are never read as HTML.

const PREFIXES = ["", "k", "M", "G", "T", "P"];
const SECONDS = [[1e6, "s"], [1e3, "ms"], [1, "µs"]];

const three = value => value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

/** 1234567 as “1.23 M”. */
export function short(value, unit = "") {
  if (!Number.isFinite(value)) return "–";
  let power = 0;
  while (Math.round(value) >= 1000 && power < PREFIXES.length - 1) {
    value /= 1000;
    power++;
  }
  return `${three(value)}${power || unit ? "\u202f" : ""}${PREFIXES[power]}${unit}`;
}

/** Microseconds with the unit that fits. */
export function time(micros) {
  if (!Number.isFinite(micros)) return "–";
  const [size, unit] = SECONDS.find(([size]) => micros >= size) ?? SECONDS.at(-1);
  return `${three(micros / size)}\u202f${unit}`;
}

/** Bytes by powers of 1024, as memory and disks are sold by. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (bytes >= 1024 && power < units.length - 1) {
    bytes /= 1024;
    power++;
  }
  return `${three(bytes)}\u202f${units[power]}`;
}

/** Seconds as “3 d 4 h”, two of its parts. */
export function span(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].map(([unit, length]) => {
    const count = Math.floor(seconds / length);
    seconds -= count * length;
    return [count, unit];
  });
  const first = parts.findIndex(([count]) => count > 0);
  return (first < 0 ? parts.slice(-1) : parts.slice(first, first + 2)).map(([count, unit]) => `${count}\u202f${unit}`).join(" ");
}

/** Bytes that a person typed: 4096, 8G, 512M. */
export function bytesOf(text) {
  const found = /^\s*(\d+)\s*([KMGTP]?)(i?B)?\s*$/i.exec(text);
  if (!found) throw new Error(`“${text}” is no number of bytes: give one such as 4096 or 8G`);
  return Number(found[1]) * 1024 ** " KMGTP".indexOf(found[2].toUpperCase() || " ");
}

/** Makes an element with attributes and what is in it. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === undefined) continue;
    made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Changes a text only where it is another one: what did not change is not painted again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
