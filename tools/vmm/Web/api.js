// The control API of the vmm that served this page.

/** Asks for something, or has something done. What is refused throws an Error with the sentence of the refusal. */
export async function call(method, path, body) {
  const request = { method, headers: {}, cache: "no-store", signal: AbortSignal.timeout(body?.directory ? 3_600_000 : 15_000) };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Error("vmm does not answer: it has ended, or the way to it is closed");
  }
  const text = await answer.text();
  if (answer.ok) return text ? JSON.parse(text) : undefined;
  let sentence = `vmm answered ${answer.status}`;
  try {
    sentence = JSON.parse(text).detail ?? sentence;
  } catch {
    // What stands between this page and vmm says it in plain text.
    if (answer.headers.get("Content-Type")?.startsWith("text/plain")) sentence = text.trim();
  }
  throw new Error(sentence);
}

export const pathOf = device => `/v1/devices/${encodeURIComponent(device)}`;

/** A console as a WebSocket. */
export function attach(name) {
  const address = new URL(`/v1/consoles/${encodeURIComponent(name)}`, location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  return socket;
}
