// What devices did in the last two minutes, from the totals that the API gives each second.

/** Seconds that are kept. */
export const KEPT = 120;

const series = () => new Float64Array(KEPT).fill(NaN);

class Device {
  rate = series();
  bytes = series();
  depth = series();
  p50 = series();
  p99 = series();
  /** For each second, how many requests were in each range of latency; null where that is not known. */
  heat = new Array(KEPT).fill(null);
  view = null;
  #before = null;
  #counts = null;

  add(view, counts, bounds, seconds) {
    for (const kept of [this.rate, this.bytes, this.depth, this.p50, this.p99]) kept.copyWithin(0, 1);
    this.heat.shift();
    const last = KEPT - 1, before = this.#before, known = before !== null && seconds > 0;
    this.rate[last] = known ? Math.max(0, view.requests - before.requests) / seconds : NaN;
    this.bytes[last] = known ? Math.max(0, view.bytes - before.bytes) / seconds : NaN;
    this.depth[last] = view.inFlight;
    const done = counts && this.#counts ? counts.map((count, i) => Math.max(0, count - this.#counts[i])) : null;
    this.heat[last] = done;
    this.p50[last] = done ? percentile(done, bounds, 0.5) : NaN;
    this.p99[last] = done ? percentile(done, bounds, 0.99) : NaN;
    this.view = this.#before = view;
    this.#counts = counts ?? null;
  }
}

/** The bound that a share of the requests lies below; NaN if there were none. */
export function percentile(counts, bounds, share) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) return NaN;
  let below = 0;
  for (let i = 0; i < counts.length; i++) {
    below += counts[i];
    if (below >= share * all) return bounds[i];
  }
  return bounds[bounds.length - 1];
}

export class Samples {
  devices = new Map();
  bounds = [];
  #at = null;

  /** Takes in what the API says now. */
  add(views, latency) {
    const now = performance.now();
    const seconds = this.#at === null ? 0 : (now - this.#at) / 1000;
    this.#at = now;
    this.bounds = latency.boundsUs;
    const counts = new Map(latency.devices.map(device => [device.name, device.counts]));
    const there = new Set();
    for (const view of views) {
      there.add(view.name);
      if (!this.devices.has(view.name)) this.devices.set(view.name, new Device());
      this.devices.get(view.name).add(view, counts.get(view.name), this.bounds, seconds);
    }
    for (const name of this.devices.keys()) if (!there.has(name)) this.devices.delete(name);
  }
}
