// The page: which view is shown, and what the machine and its devices do.

import { call } from "./api.js";
import * as charts from "./charts.js";
import { Consoles } from "./console.js";
import { formsFor, number } from "./forms.js";
import { Samples } from "./samples.js";
import { element, say, short, size, span, time } from "./text.js";
import * as tree from "./tree.js";

const SECOND = 1000, EVENTS_MAX = 500, TREE_EVERY = 5;
const by = id => document.getElementById(id);
const samples = new Samples();
const consoles = new Consoles();
const sections = [...document.querySelectorAll("main > section")];
let view = "devices", chosen = null, ticks = 0;

const latest = series => series[series.length - 1];
const complain = text => say(by("trouble"), text);

// Which view is shown.

async function route() {
  const [, name = "devices", rest] = location.hash.split("/");
  [view, chosen] = [sections.some(section => section.id === name) ? name : "devices", rest ? decodeURIComponent(rest) : null];
  if (view === "device" && !chosen) view = "devices";
  for (const section of sections) section.hidden = section.id !== view;
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = link.dataset.view === (view === "device" ? "devices" : view);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = chosen ? `${chosen} – vmm` : "vmm";
  try {
    if (view === "device") await showDevice();
    else if (view === "consoles") await consoles.show(chosen);
    else if (view === "tree") await readTree();
  } catch (refused) {
    complain(refused.message);
  }
  draw();
}

// The devices.

const rows = new Map();

function rowOf(name) {
  const link = element("a", { href: `#/device/${encodeURIComponent(name)}` }, name);
  const cells = ["wide", "number", "number wide", "number", "number wide"].map(kind => element("td", { class: kind }));
  const canvas = element("canvas", { role: "img", "aria-label": `Requests a second of ${name}` });
  const row = element("tr", {}, element("td", {}, link), ...cells, element("td", { class: "wide" }, canvas));
  return { row, cells, canvas };
}

function drawDevices() {
  by("no-devices").hidden = samples.devices.size > 0;
  for (const [name, { row }] of rows) {
    if (samples.devices.has(name)) continue;
    row.remove();
    rows.delete(name);
  }
  for (const [name, device] of samples.devices) {
    if (!rows.has(name)) {
      rows.set(name, rowOf(name));
      by("device-rows").append(rows.get(name).row);
    }
    const { cells, canvas } = rows.get(name);
    const texts = [device.view.type, short(latest(device.rate)), short(latest(device.bytes), "B"), time(latest(device.p99)),
      String(device.view.inFlight)];
    texts.forEach((text, i) => say(cells[i], text));
    charts.spark(canvas, device.rate);
  }
}

// One device.

const TILES = [
  ["Requests", view => short(view.requests)],
  ["Bytes", view => size(view.bytes)],
  ["Guest faults", view => String(view.guestFaults)],
  ["Host faults", view => String(view.hostFaults)],
  ["p50 so far", view => view.latencyP50Us === undefined ? null : time(view.latencyP50Us)],
  ["p99 so far", view => view.latencyP99Us === undefined ? null : time(view.latencyP99Us)],
  ["Capacity", view => view.capacityBytes === undefined ? null : size(view.capacityBytes)],
  ["Storage", view => view.storage],
  ["Waited for its limit", view => view.throttledSeconds === undefined ? null : `${view.throttledSeconds.toFixed(1)}\u202fs`],
  ["Socket", view => view.socket],
  ["Front-end", view => view.connected === undefined ? null : view.connected ? "connected" : "none"],
  ["Given up", view => view.actualBytes === undefined ? null : size(view.actualBytes)],
  ["Address", view => view.macAddress],
  ["MTU", view => view.mtu],
  ["Receives", view => view.receiveFilter === undefined ? null : received(view.receiveFilter)],
  ["Cable", view => view.linkUp === undefined ? null : view.linkUp ? "plugged in" : "out"],
];

/** Those whose texts are paths and names. */
const LONG = new Set(["Storage", "Socket", "Receives"]);

/** Which frames a network card's driver wants. */
function received({ promiscuous, address, unicast, multicast, vlans }) {
  if (promiscuous) return "every frame";
  const those = (list, all) => list === undefined ? [all] : list;
  return [address, ...those(unicast, "any address"), ...those(multicast, "any group"), vlans === undefined ? "any VLAN"
    : vlans.length ? `VLAN ${vlans.join(", ")}` : "no VLAN"].join(", ");
}

async function showDevice() {
  say(by("device-title"), chosen);
  by("tiles").replaceChildren();
  const device = await call("GET", `/v1/devices/${encodeURIComponent(chosen)}`);
  by("forms").replaceChildren(...formsFor(device));
  by("device-tree").replaceChildren();
  await readTree();
}

function drawDevice() {
  const device = samples.devices.get(chosen);
  if (!device) return;
  say(by("device-title"), `${device.view.name} · ${device.view.type}`);
  const tiles = by("tiles");
  for (const [name, text] of TILES) {
    const shown = text(device.view) ?? null;
    let tile = tiles.querySelector(`[data-name="${name}"]`);
    if (shown === null) {
      tile?.remove();
      continue;
    }
    if (!tile) {
      tile = element("div", { "data-name": name, class: LONG.has(name) && "long" }, element("dt", {}, name), element("dd"));
      tiles.append(tile);
    }
    say(tile.lastChild, String(shown));
  }
  for (const [id, series, format] of [
    ["rate", device.rate, value => short(value)], ["bytes", device.bytes, value => short(value, "B")],
    ["depth", device.depth, value => short(value)]]) {
    charts.lines(by(id), series, format);
    say(by(`${id}-now`), format(latest(series)));
    by(id).setAttribute("aria-label", `${id === "depth" ? "In flight" : id} now: ${format(latest(series))}`);
  }
  charts.heatMap(by("latency"), device.heat, samples.bounds, time);
  const quantiles = `half below ${time(latest(device.p50))}, 99 of 100 below ${time(latest(device.p99))}`;
  say(by("latency-now"), quantiles);
  by("latency").setAttribute("aria-label", `Latency now: ${quantiles}`);
}

// The tree.

async function readTree() {
  const whole = await call("GET", "/v1/inspect");
  if (view === "tree") tree.show(by("whole-tree"), whole);
  else if (view === "device" && whole.devices[chosen]) tree.show(by("device-tree"), Object(whole.devices[chosen]));
}

by("tree-refresh").addEventListener("click", () => readTree().catch(refused => complain(refused.message)));

// What happens.

function watch() {
  const events = new EventSource("/v1/events");
  const take = message => {
    const { time: when, kind, level, message: text } = JSON.parse(message.data);
    const at = new Date(when);
    const line = element("li", { "data-level": level }, element("time", { datetime: when }, at.toLocaleTimeString()),
      element("b", {}, kind), element("span", {}, text));
    by("event-list").prepend(line);
    while (by("event-list").children.length > EVENTS_MAX) by("event-list").lastChild.remove();
  };
  // The server names each by its kind, and a listener is for one name.
  for (const kind of ["log", "front-end-connected", "driver-started", "front-end-left", "capacity-changed", "guest-fault", "host-fault",
    "storage", "medium-changed", "not-pinned", "device-added", "device-removed", "machine-paused", "machine-resumed", "machine-saved",
    "machine-reset", "power-button", "draining", "machine-ended", "message"]) {
    events.addEventListener(kind, take);
  }
}

// The machine.

function act(button, path, question) {
  by(button).addEventListener("click", async () => {
    if (question && !confirm(question)) return;
    try {
      drawMachine(await call("POST", path));
      complain("");
    } catch (refused) {
      complain(refused.message);
    }
  });
}

act("pause", "/v1/machine/pause");
act("resume", "/v1/machine/resume");
act("power-off", "/v1/machine/power-off");
act("reset", "/v1/machine/reset", "Start the machine again from its kernel? What its guest has not written is lost.");

const drainDialog = by("drain-dialog"), drainForm = drainDialog.querySelector("form");
by("drain").addEventListener("click", () => {
  say(by("drain-answer"), "");
  drainDialog.showModal();
});
by("drain-cancel").addEventListener("click", () => drainDialog.close());
drainForm.addEventListener("submit", async submitted => {
  submitted.preventDefault();
  try {
    const text = drainForm.elements.seconds.value;
    await call("POST", "/v1/machine/drain", text.trim() === "" ? {} : { seconds: number(text) });
    drainDialog.close();
  } catch (refused) {
    by("drain-answer").dataset.ok = "false";
    say(by("drain-answer"), refused.message);
  }
});

// What only a machine of 'vmm boot' can.
const OF_BOOT = ["snapshot", "power-off", "reset"];

const dialog = by("snapshot-dialog"), snapshotForm = dialog.querySelector("form");
by("snapshot").addEventListener("click", () => {
  say(by("snapshot-answer"), "");
  dialog.showModal();
});
by("snapshot-cancel").addEventListener("click", () => dialog.close());
snapshotForm.addEventListener("submit", async submitted => {
  submitted.preventDefault();
  const { directory, stop } = Object.fromEntries(new FormData(snapshotForm));
  say(by("snapshot-answer"), "Saving …");
  try {
    const saved = await call("POST", "/v1/machine/snapshot", stop ? { directory, stop: true } : { directory });
    say(by("snapshot-answer"), `Saved: ${size(saved.bytesWritten)} in ${saved.elapsedSeconds.toFixed(1)}\u202fs; the guest stood still for `
      + `${(saved.stoppedSeconds * 1000).toFixed(0)}\u202fms.`);
  } catch (refused) {
    say(by("snapshot-answer"), refused.message);
  }
});

function drawMachine(machine) {
  say(by("kind"), `vmm ${machine.kind}`);
  say(by("state"), machine.state);
  by("state").dataset.state = machine.state;
  say(by("about"), `process ${machine.process}, version ${machine.version}, up ${span(machine.uptimeSeconds)}`);
  const hasMachine = machine.kind !== "serve";
  by("pause").disabled = !hasMachine || machine.state !== "running";
  by("resume").disabled = !hasMachine || machine.state !== "paused";
  by("drain").disabled = hasMachine || machine.state !== "running";
  for (const button of OF_BOOT) by(button).disabled = machine.kind !== "boot" || machine.state === "stopping";
  if (machine.saving && dialog.open) {
    const { bytesDone, bytesTotal } = machine.saving;
    say(by("snapshot-answer"), `Saving: ${size(bytesDone)} of ${size(bytesTotal)}`);
  }
}

function draw() {
  if (view === "devices") drawDevices();
  else if (view === "device") drawDevice();
}

async function tick() {
  try {
    const [machine, { devices }, latency] = await Promise.all(["/v1/machine", "/v1/devices", "/v1/latency"].map(path => call("GET", path)));
    samples.add(devices, latency);
    drawMachine(machine);
    if (by("state").dataset.lost) complain("");
    delete by("state").dataset.lost;
    if (++ticks % TREE_EVERY === 0 && view === "device") await readTree();
  } catch (gone) {
    say(by("state"), "gone");
    by("state").dataset.state = "gone";
    by("state").dataset.lost = "true";
    for (const button of ["pause", "resume", "drain", ...OF_BOOT]) by(button).disabled = true;
    complain(gone.message);
  }
  draw();
  setTimeout(tick, SECOND);
}

for (const link of document.querySelectorAll("nav a")) link.dataset.text = link.textContent;
for (const canvas of document.querySelectorAll("figure canvas")) canvas.setAttribute("role", "img");
addEventListener("hashchange", route);
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
watch();
tick();
route();
