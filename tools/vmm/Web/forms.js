// What can be changed of a device, as forms.

import { call, pathOf } from "./api.js";
import { bytesOf, element, say } from "./text.js";

/** Reads a number that is not below 0. */
export const number = text => {
  if (!/^\s*\d+(\.\d+)?\s*$/.test(text)) throw new Error(`“${text}” is no number`);
  return Number(text);
};

/** Each form: for which devices it is, and its fields with how their text is read and what stands in them at first. */
const FORMS = [
  {
    title: "Limit", fits: () => true, fields: [
      ["operationsPerSecond", "Operations a second; 0 for no limit", number, view => view.operationsPerSecond],
      ["bytesPerSecond", "Bytes a second, such as 100M; 0 for no limit", bytesOf, view => view.bytesPerSecond],
      ["burstSeconds", "Seconds that a burst may save up", number, view => view.burstSeconds ?? ""],
    ],
  },
  {
    title: "Size", fits: view => view.capacityBytes !== undefined && !view.readOnly, fields: [
      ["capacityBytes", "Bytes, such as 8G: more than now", bytesOf, view => view.capacityBytes],
    ],
  },
  {
    title: "Medium", fits: view => view.capacityBytes !== undefined, fields: [
      ["medium", "Path or address of another image, on the host: unmount this one in the guest first", text => text.trim(), () => ""],
    ],
  },
  {
    title: "Balloon", fits: view => view.targetBytes !== undefined, fields: [
      ["targetBytes", "Memory that the guest is to give up, such as 64M", bytesOf, view => view.targetBytes],
    ],
  },
  {
    title: "Cable", fits: view => view.linkUp !== undefined, fields: [
      ["linkUp", "Plugged in", null, view => view.linkUp],
    ],
  },
  {
    title: "Terminal", fits: view => view.type === "console", fields: [
      ["columns", "Columns", number, () => 80],
      ["rows", "Rows", number, () => 24],
    ],
  },
];

function make(form, view) {
  const inputs = form.fields.map(([name, label, read, now]) => {
    const input = element("input", read
      ? { name, value: String(now(view)), autocomplete: "off", spellcheck: "false", inputmode: read === number ? "decimal" : "text" }
      : { name, type: "checkbox", checked: now(view) });
    return { name, read, input, label: element("label", read ? {} : { class: "check" }, ...(read ? [label, input] : [input, label])) };
  });
  const answer = element("p", { class: "answer", role: "status" });
  const made = element("form", { novalidate: true }, element("fieldset", {}, element("legend", {}, form.title),
    ...inputs.map(each => each.label), element("div", {}, element("button", { type: "submit" }, "Apply")), answer));
  made.addEventListener("submit", async submitted => {
    submitted.preventDefault();
    try {
      const change = {};
      for (const { name, read, input } of inputs) {
        if (read && input.value.trim() === "") continue;
        change[name] = read ? read(input.value) : input.checked;
      }
      await call("PATCH", pathOf(view.name), change);
      answer.dataset.ok = "true";
      say(answer, "Done.");
    } catch (refused) {
      answer.dataset.ok = "false";
      say(answer, refused.message);
    }
  });
  return made;
}

/** The forms that fit a device. */
export const formsFor = view => FORMS.filter(form => form.fits(view)).map(form => make(form, view));
