// The live tree as elements that open and close. What is read again goes where it stood: what is open stays open.

import { element, say } from "./text.js";

const isBranch = value => value !== null && typeof value === "object";

function make(name, value) {
  return isBranch(value)
    ? element("details", { "data-name": name }, element("summary", {}, name))
    : element("div", { class: "leaf", "data-name": name }, element("span", {}, name), element("span", {}, ""));
}

/** Shows what an object holds. */
export function show(place, object) {
  const before = new Map([...place.children].filter(child => child.dataset.name !== undefined).map(child => [child.dataset.name, child]));
  for (const [name, value] of Object.entries(object)) {
    let child = before.get(name);
    before.delete(name);
    if (child && (child.tagName === "DETAILS") !== isBranch(value)) {
      child.remove();
      child = null;
    }
    child ??= make(name, value);
    if (!child.isConnected) place.append(child);
    if (isBranch(value)) show(child, value);
    else say(child.lastChild, String(value));
  }
  for (const gone of before.values()) gone.remove();
}
