// Runs before the network's bytes have been read, so that it can say it when they never come.
function say(text, share = null, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
  $("progress").hidden = share === null;
  if (share !== null) $("progress").value = share;
}

// What stands in the way of running the network here; null where nothing does.
function findObstacle() {
  if (!$("end")) return "This file is truncated: its end is missing. Copy or download it again.";
  if (typeof WebAssembly !== "object") return "This browser has no WebAssembly, which runs the network. Firefox, Chrome, Edge and Safari of the last years have it, unless it was switched off.";
  if (typeof DecompressionStream !== "function" || typeof OffscreenCanvas !== "function") return "This browser is too old for this page: it needs DecompressionStream and OffscreenCanvas, as in Chrome 92, Firefox 113 and Safari 16.4.";
  return null;
}

// The worker, and what is asked of it.
const worker = { waiting: new Map(), asked: 0, thread: null };

function ask(kind, message = {}, transfer = []) {
  const id = ++worker.asked;
  worker.thread.postMessage({ id, kind, ...message }, transfer);
  return new Promise((resolve, reject) => worker.waiting.set(id, { resolve, reject }));
}

function startWorker() {
  const address = URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" }));
  worker.thread = new Worker(address);
  worker.thread.onmessage = ({ data: { id, value, error, told, share } }) => {
    if (told) { say(`${told} …`, share); return; }
    const { resolve, reject } = worker.waiting.get(id);
    worker.waiting.delete(id);
    if (error) reject(new Error(error)); else resolve(value);
  };
  worker.thread.onerror = (event) => say(`The network cannot be started: ${event.message || "this browser does not run workers from a file"}.`, null, true);
  const parts = {};
  for (const name of ["ort.mjs", "ort.wasm", "structure", "weights"]) {
    const part = $(`part-${name}`);
    parts[name] = { text: part.textContent.trim(), sha256: part.dataset.sha256, bytes: Number(part.dataset.bytes) };
    part.remove(); // the worker has it now
  }
  return ask("start", { parts, document: { ...data.live, levels: data.levels } });
}
