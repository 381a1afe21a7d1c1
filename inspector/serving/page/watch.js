"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const LINES = 5, SPAN = 300, STEP = 0.25, MOST = 512; // lines in a chart, seconds in it, seconds between its points, channels drawn
const state = { layer: "", channel: 0, map: "best", opacity: 55 };
const percent = (x) => x === null ? "not finite" : (100 * x).toFixed(1) + " %";
const number = (x) => x === null || !isFinite(x) ? "not finite" : x === 0 ? "0" : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== false) node.setAttribute(key, value === true ? "" : value);
  node.append(...children);
  return node;
};
let about = null, colors = null, last = null, channels = null, connection = null;

// --- the stream -----------------------------------------------------------------------------------------------------
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

function notice(text, bad = true) {
  const node = $("notice");
  if (node.textContent === text && node.hidden === !text) return;
  node.textContent = text; node.hidden = !text; node.classList.toggle("bad", bad);
}

async function ask(path, signal) {
  const answer = await fetch(path, { signal, cache: "no-store", credentials: "same-origin" });
  if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim() || answer.statusText), { status: answer.status });
  return answer;
}

// Watches until the page is left: a connection that ends is made again, with growing pauses.
async function run() {
  let pause = 0.5;
  for (;;) {
    if (halted()) { notice($("pause").getAttribute("aria-pressed") === "true" ? "Paused: nothing is computed for this page." : "", false); await wake(); continue; }
    connection = new AbortController();
    try {
      if (about === null) await meet(connection.signal);
      const query = new URLSearchParams();
      if (state.layer) query.set("layer", state.layer);
      if (state.map !== "") query.set("map", state.map);
      const answer = await ask("watch?" + query, connection.signal);
      if (run.lost) notice("");
      run.lost = false;
      await read(answer.body.getReader(), () => { pause = 0.5; });
      throw new Error("the device has ended the connection");
    } catch (error) {
      if (connection.signal.aborted) continue;
      if (error.status === 400) { state.layer = ""; state.map = "best"; address(); }
      about = null; run.lost = true;
      notice(`${error.status ? error.message : "The device does not answer"}; trying again in ${pause.toFixed(1)} s.`);
      await Promise.race([sleep(pause), wake()]);
      pause = Math.min(2 * pause, 10);
    }
  }
}

const halted = () => document.hidden || $("pause").getAttribute("aria-pressed") === "true";
const wake = () => new Promise((done) => { wake.waiting.push(done); });
wake.waiting = [];
function again() { // what is watched changed, or whether anything is
  wake.waiting.splice(0).forEach((done) => done());
  connection?.abort();
}

// Reads messages; of those that came together only the newest is drawn.
async function read(reader, onMessage) {
  let held = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(held.length + value.length);
    joined.set(held); joined.set(value, held.length);
    held = joined;
    let newest = null;
    for (;;) {
      const found = split(held);
      if (!found) break;
      held = held.subarray(found.bytes);
      newest = found;
      note(found.head);
    }
    if (newest) { onMessage(); await show(newest.head, newest.parts); }
  }
}

function split(data) {
  if (data.length < 4) return null;
  const view = new DataView(data.buffer, data.byteOffset, data.length), length = view.getUint32(0, true);
  if (data.length < 4 + length) return null;
  const head = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  const parts = {};
  let at = 4 + length;
  for (const part of head.parts) {
    if (data.length < at + part.bytes) return null;
    parts[part.kind] = { ...part, data: data.subarray(at, at + part.bytes) };
    at += part.bytes;
  }
  return { head, parts, bytes: at };
}

// --- what the device says of itself ---------------------------------------------------------------------------------
async function meet(signal) {
  const found = await (await ask("about", signal)).json();
  const changed = !about && meet.digest !== found.model.digest;
  about = found; meet.digest = found.model.digest;
  if (!changed) return;
  const raw = atob(found.colors);
  colors = Uint8Array.from(raw, (c) => c.charCodeAt(0));
  document.title = `${found.model.path} live`;
  $("title").textContent = found.model.path;
  $("lead").textContent = `Watching ${found.source.name} with ${found.layers.length} layers. ` +
    "What a page shows is computed for it, once for all pages that show it. The address holds what is chosen." +
    (Object.keys(found.attached).length ? ` The file's own attached outputs are used: ${Object.values(found.attached).join(", ")}.` : "");
  $("made").textContent = `Served by inspector ${found.version}: ${found.model.path}, SHA-256 ${found.model.sha256.slice(0, 16)}…. Nothing is loaded from elsewhere, and nothing is kept but what --record says. Charts are drawn by uPlot (MIT).`;
  $("labels").replaceChildren(...found.labels.map((label, n) => element("option", { value: label }, String(n))));
  $("map-controls").hidden = !found.model.classes;
  $("map-legend").hidden = !found.model.classes;
  $("map").querySelector("[data-saliency]")?.remove();
  if (found.attached.saliency) $("map").append(element("option", { value: "saliency", "data-saliency": true }, "of the pixels that move the score"));
  $("drift-figure").hidden = $("drift-details").hidden = !found.drift;
  buildLayers();
  samples.length = 0; tracked.clear();
  for (const one of found.history) remember(one.time, one, { drift: one.drift });
  const bar = $("map-bar").getContext("2d");
  for (let x = 0; x < 160; x++) { const n = 3 * Math.round(x / 159 * 255); bar.fillStyle = `rgb(${colors[n]},${colors[n + 1]},${colors[n + 2]})`; bar.fillRect(x, 0, 1, 10); }
  go({}, true);
}

// --- the picture ----------------------------------------------------------------------------------------------------
const decode = (data, type) => createImageBitmap(new Blob([data], { type }));

async function show(head, parts) {
  if (parts.picture) {
    const picture = await decode(parts.picture.data, "image/jpeg");
    const plane = parts.plane ? await decode(parts.plane.data, "image/png") : null;
    if (parts.layer) { // the channels come less often than the picture
      const sheet = parts.layer.bytes ? await decode(parts.layer.data, "image/png") : null;
      channels?.sheet?.close();
      channels = { entry: parts.layer, sheet, frame: head.frame };
    }
    if (last) { last.picture.close(); last.plane?.close(); }
    last = { head, parts, picture, plane };
    drawPicture();
    if (parts.layer) drawGrid();
  }
  tell(head);
}

const scratch = element("canvas"), pen = scratch.getContext("2d", { willReadFrequently: true });

function drawPicture() {
  if (!last) return;
  const { picture, parts, head, plane } = last, canvas = $("picture"), { width, height } = picture;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d"), opacity = state.opacity / 100;
  context.globalAlpha = 1;
  context.drawImage(picture, 0, 0);
  if (plane) drawPlane(context, plane, head, width, height, opacity);
  if (parts.map && !parts.map.empty) drawMap(context, parts.map, width, height, opacity);
  context.globalAlpha = 1;
  for (const [n, one] of (head.answer.boxes || []).slice(0, 60).entries()) drawBox(context, one, n, parts.picture.of, width);
  canvas.dataset.frame = head.frame;
  canvas.dataset.map = parts.map ? parts.map.class.index : "";
  $("map-words").textContent = head.no_map ? `no map: ${head.no_map}` : parts.map ? parts.map.empty ? `nothing here speaks for ${parts.map.class.label}` :
    parts.map.saliency ? `how much each pixel moves the score of ${parts.map.class.label}, least to most (${parts.map.method}, the file's output ${parts.map.attached})` :
    `no evidence to most, of ${parts.map.class.label} (${parts.map.method}${parts.map.layer ? ` at ${parts.map.layer}` : ""}${parts.map.attached ? `, the file's output ${parts.map.attached}` : ""})` : "no map is computed";
}

function drawMap(context, map, width, height, opacity) {
  const [h, w] = map.shape, [x1, y1, x2, y2] = map.box;
  scratch.width = w; scratch.height = h;
  const pixels = pen.createImageData(w, h);
  for (let n = 0; n < w * h; n++) { const c = 3 * map.data[n]; pixels.data.set([colors[c], colors[c + 1], colors[c + 2], 255], 4 * n); }
  pen.putImageData(pixels, 0, 0);
  context.save();
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = true; context.imageSmoothingQuality = "high";
  context.drawImage(scratch, x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height);
  context.restore();
}

const GOLDEN = (Math.sqrt(5) - 1) / 2;
const hue = (index) => `hsl(${Math.round(360 * ((index * GOLDEN) % 1))} 85% 55%)`;

function drawPlane(context, plane, head, width, height, opacity) {
  scratch.width = plane.width; scratch.height = plane.height;
  pen.drawImage(plane, 0, 0);
  if (head.answer.segments) {
    const pixels = pen.getImageData(0, 0, plane.width, plane.height), words = new Uint32Array(pixels.data.buffer), table = new Uint32Array(256);
    const swatch = element("canvas", { width: 1, height: 1 }).getContext("2d");
    for (const { index } of head.answer.segments) {
      swatch.fillStyle = hue(index); swatch.fillRect(0, 0, 1, 1);
      table[index] = new Uint32Array(swatch.getImageData(0, 0, 1, 1).data.buffer)[0];
    }
    for (let n = 0; n < words.length; n++) words[n] = table[words[n] & 255];
    pen.putImageData(pixels, 0, 0);
  }
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, 0, 0, width, height);
  context.imageSmoothingEnabled = true;
}

function drawBox(context, one, n, of, width) {
  const scale = width / of[0], color = hue(one.index), [x1, y1, x2, y2] = one.box.map((side) => side * scale);
  context.lineWidth = 2; context.strokeStyle = color;
  context.beginPath();
  if (one.corners) { one.corners.forEach(([x, y], k) => context[k ? "lineTo" : "moveTo"](x * scale, y * scale)); context.closePath(); }
  else context.rect(x1, y1, x2 - x1, y2 - y1);
  context.stroke();
  for (const [x, y, seen] of one.keypoints || []) if (seen > 0.5) { context.fillStyle = color; context.beginPath(); context.arc(x * scale, y * scale, 3, 0, 7); context.fill(); }
  if (n >= 20) return;
  const text = `${one.label} ${one.score.toFixed(2)}`;
  context.font = "12px system-ui, sans-serif";
  const wide = context.measureText(text).width + 8, top = y1 > 17 ? y1 - 17 : y1;
  context.fillStyle = "#000b"; context.fillRect(x1, top, wide, 16);
  context.fillStyle = "#fff"; context.fillText(text, x1 + 4, top + 12);
}

// --- numbers over time ----------------------------------------------------------------------------------------------
const samples = [], tracked = new Map(); // moments, and index -> { label, weight, slot } of the classes that count

// One number for each class of an answer, whatever the task: probability, best score, share of the picture.
function values(answer) {
  const found = new Map();
  for (const one of answer.top || answer.boxes || answer.segments || []) {
    const value = one.probability ?? one.score ?? one.share ?? 0;
    if (!found.has(one.index) || found.get(one.index).value < value) found.set(one.index, { value, label: one.label });
  }
  return found;
}

function remember(time, answer, more) {
  const found = values(answer);
  for (const one of tracked.values()) one.weight *= 0.98;
  for (const [index, { value, label }] of found) {
    const one = tracked.get(index) || { label, weight: 0 };
    one.weight += 0.02 * value; one.now = value;
    tracked.set(index, one);
  }
  for (const [index, one] of tracked) { if (!found.has(index)) one.now = 0; if (one.weight < 1e-4) tracked.delete(index); }
  if (samples.length && time - samples.at(-1).time < STEP) return;
  samples.push({ time, found, ...more });
  while (samples.length > 2 && samples[0].time < time - SPAN) samples.shift();
}

function note(head) {
  if (!head.answer) return;
  remember(head.time, head.answer, { network: 1000 * head.network, latency: 1000 * head.latency, cores: head.load.processor, rate: head.rate, drift: head.drift?.ratio });
}

let slots = [];
function choose() { // the classes that have a color: those that count most, each with the color it had
  const best = [...tracked].sort((a, b) => b[1].weight - a[1].weight).slice(0, LINES).map(([index]) => index);
  slots = Array.from({ length: LINES }, (_, n) => best.includes(slots[n]) ? slots[n] : null);
  for (const index of best) if (!slots.includes(index)) slots[slots.indexOf(null)] = index;
}

// What is not finite comes as null, which is less than any limit by the rules of the language.
const isBeyond = ({ value, limit }) => value === null || limit === null || value > limit;

function tell(head) {
  const now = performance.now();
  if (now - (tell.then || 0) < 250 && !head.source.lost) return;
  tell.then = now;
  const { source, load } = head;
  if (source.lost) notice(`${source.lost}. Next try in ${Math.ceil(source.again)} s, after ${source.tries} ${source.tries === 1 ? "try" : "tries"}.`);
  else if (source.ended) notice("The source has ended.", false);
  else notice("");
  choose();
  list();
  const size = source.size[0] ? `${source.size[0]} × ${source.size[1]}, ${source.rate.toFixed(1)} a second` : "none yet";
  const rows = [["frames", `${head.frame} seen, ${source.dropped} left out`], ["source", size], ["speed", `${head.rate.toFixed(1)} frames a second`],
    ["network", head.network === undefined ? "" : `${(1000 * head.network).toFixed(0)} ms, ${(1000 * head.latency).toFixed(0)} ms from camera to page`],
    ["processor", load.processor === null ? "not known" : `${load.processor.toFixed(2)} of ${load.cores} cores`],
    ["memory", load.memory === null ? "not known" : `${(load.memory / 1e6).toFixed(0)} MB${load.total ? ` of ${(load.total / 1e9).toFixed(1)} GB` : ""}`],
    ["pages", String(head.watchers)]];
  if (head.name) rows.unshift(["picture", head.name]);
  const unknown = head.answer?.attached?.unknown;
  if (unknown) rows.unshift([unknown.output, `${unknown.value.toFixed(2)}, ${unknown.alarm ? "above" : "below"} the threshold ${unknown.threshold.toFixed(2)}${unknown.alarm ? ": not like what the network knows" : ""}`]);
  if (head.record) rows.push(["recorded", `${head.record.kept} frames${head.record.trouble ? `; ${head.record.trouble}` : ""}`]);
  if (head.drift) {
    const beyond = head.drift.measures.filter(isBeyond), n = beyond.length;
    $("drift-words").textContent = n ? `${n} of ${head.drift.measures.length} measures beyond the limit: ${beyond[0].name} ${number(beyond[0].value)}, limit ${number(beyond[0].limit)}` :
      `All ${head.drift.measures.length} measures are within their limits`;
    if ($("drift-details").open) $("drift").replaceChildren(...head.drift.measures.flatMap((one) => [element("dt", {}, one.name), element("dd", {}, `${number(one.value)}, limit ${number(one.limit)}`)]));
  }
  $("figures").replaceChildren(...rows.filter(([, text]) => text).flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
  chart();
}

function list() {
  const rows = slots.map((index, slot) => ({ index, slot })).filter(({ index }) => index !== null).sort((a, b) => tracked.get(b.index).now - tracked.get(a.index).now);
  const box = $("answers");
  while (box.children.length > rows.length) box.lastChild.remove();
  rows.forEach(({ index, slot }, n) => {
    let button = box.children[n]?.firstChild;
    if (!button) {
      button = element("button", { type: "button" }, element("span", { class: "dot" }), element("span", { class: "name" }), element("span", { class: "p" }), element("span", { class: "meter" }, element("i")));
      button.addEventListener("click", () => go({ map: state.map === button.dataset.index ? "best" : button.dataset.index }));
      box.append(element("li", {}, button));
    }
    const { label, now } = tracked.get(index), [dot, name, p, meter] = button.children;
    button.dataset.index = index;
    button.setAttribute("aria-pressed", String(state.map === String(index)));
    dot.className = `dot dot-${slot}`; name.textContent = label; p.textContent = percent(now);
    meter.firstChild.className = `fill-${slot}`; meter.firstChild.style.width = 100 * Math.max(0, Math.min(1, now)) + "%";
  });
  $("answers-hint").textContent = rows.length ? about?.model.classes ? "Choose one to see its map." : "" : last ? "Nothing was found." : "";
}

const charts = {};
function chart() {
  if (document.hidden || typeof uPlot === "undefined" || samples.length < 2) return;
  const x = samples.map((one) => one.time), line = (read) => samples.map((one) => read(one) ?? null);
  plot("chart-answers", [x, ...slots.map((index) => line((one) => index === null ? null : one.found.get(index)?.value ?? 0))], LINES, [0, 1]);
  plot("chart-time", [x, line((one) => one.network), line((one) => one.latency)], 2);
  plot("chart-load", [x, line((one) => one.cores), line((one) => one.rate)], 2);
  if (about?.drift) plot("chart-drift", [x, line((one) => one.drift), x.map(() => 1)], 2);
}

function plot(id, data, lines, range) {
  const box = $(id), width = box.clientWidth;
  if (!charts[id]) {
    const axis = { stroke: () => theme("--muted"), grid: { stroke: () => theme("--rule"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    charts[id] = new uPlot({
      width, height: box.clientHeight, legend: { show: false }, cursor: { show: false }, padding: [8, 8, 0, 0],
      scales: { x: { time: true }, y: range ? { range } : { range: (_, low, high) => [0, Math.max(high * 1.1, 1e-9)] } },
      axes: [{ ...axis, space: 70 }, { ...axis, size: 46 }],
      series: [{}, ...Array.from({ length: lines }, (_, n) => ({ stroke: () => theme(`--line-${n}`), width: 2, points: { show: false }, spanGaps: false }))],
    }, data, box);
  }
  charts[id].setData(data);
  box.dataset.points = data[0].length;
}

// --- layers and channels --------------------------------------------------------------------------------------------
const grid = { across: 1, cell: [1, 1], tile: [1, 1], count: 0, scale: 1 };

function buildLayers() {
  $("layers").replaceChildren(...about.layers.map((layer, l) => {
    const shape = layer.shape.map((side) => side ?? "any").join(" × ");
    const item = element("li", { id: `layer-${l}`, role: "option", "aria-selected": "false" }, element("span", { class: "name" }, layer.name),
      element("small", {}, `${layer.kind}${shape ? ` · ${shape}` : ""}`));
    item.addEventListener("click", () => go({ layer: state.layer === layer.name ? "" : layer.name, channel: 0 }));
    return item;
  }));
}

function drawGrid() {
  const canvas = $("grid"), entry = channels?.entry;
  if (!entry || entry.name !== state.layer) return;
  if (entry.empty || !channels.sheet) { $("layer-facts").textContent = "Empty on this picture."; return; }
  const [h, w] = entry.tile, count = Math.min(entry.shape[0], MOST), width = $("grid-box").clientWidth;
  const wanted = count <= 64 ? 64 : 36, times = Math.max(1, Math.floor(wanted / Math.max(h, w))), ratio = Math.min(devicePixelRatio, 2);
  const tile = [w * times, h * times], gap = 4, label = 14, cell = [Math.max(tile[0], 26) + gap, tile[1] + label + gap];
  const across = Math.max(1, Math.floor((width + gap) / cell[0])), rows = Math.ceil(count / across);
  Object.assign(grid, { across, cell, tile, count, ratio });
  const [wide, high] = [Math.round(width * ratio), Math.round(rows * cell[1] * ratio)];
  if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; canvas.style.height = rows * cell[1] + "px"; }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, rows * cell[1]);
  context.imageSmoothingEnabled = false;
  context.font = "10.5px system-ui, sans-serif"; context.textAlign = "center"; context.fillStyle = theme("--muted");
  const blank = new Set(entry.blank);
  for (let c = 0; c < count; c++) {
    const x = (c % across) * cell[0] + (cell[0] - gap - tile[0]) / 2, y = Math.floor(c / across) * cell[1];
    context.fillText(String(c), x + tile[0] / 2, y + label - 3);
    if (blank.has(c)) hatch(context, x, y + label, tile[0], tile[1]);
    else context.drawImage(channels.sheet, (c % entry.across) * w, Math.floor(c / entry.across) * h, w, h, x, y + label, tile[0], tile[1]);
  }
  context.fillStyle = theme("--muted");
  const left = entry.shape[0] > count ? `; the first ${count} of ${entry.shape[0]} channels` : "";
  $("layer-facts").textContent = `${entry.shape.join(" × ")}; ${number(entry.low)} to ${number(entry.high)}; ${percent(entry.zero)} zero; ` +
    `${entry.blank.length} constant${entry.bad ? `; ${entry.bad} values not finite` : ""}; each channel in colors from its lowest value to its highest${left}`;
  canvas.setAttribute("aria-label", `${entry.shape[0]} channels of ${entry.name}`);
  canvas.dataset.drawn = entry.name;
  canvas.dataset.frame = channels.frame;
  drawChannel(entry, blank);
  mark();
}

function hatch(context, x, y, w, h) {
  context.save();
  context.beginPath(); context.rect(x, y, w, h); context.clip();
  context.fillStyle = "#e4e4ea"; context.fillRect(x, y, w, h);
  context.strokeStyle = "#8a8a92"; context.lineWidth = 2; context.beginPath();
  for (let d = -h; d < w; d += 7) { context.moveTo(x + d, y + h); context.lineTo(x + d + h, y); }
  context.stroke(); context.restore();
}

function drawChannel(entry, blank) {
  const canvas = $("big"), [h, w] = entry.tile, times = Math.max(1, Math.floor(320 / Math.max(h, w))), c = state.channel;
  $("h-detail").textContent = `${entry.name}, channel ${c}`;
  if (canvas.width !== w * times || canvas.height !== h * times) { canvas.width = w * times; canvas.height = h * times; }
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  if (blank.has(c)) hatch(context, 0, 0, canvas.width, canvas.height);
  else context.drawImage(channels.sheet, (c % entry.across) * w, Math.floor(c / entry.across) * h, w, h, 0, 0, canvas.width, canvas.height);
  canvas.dataset.channel = c;
}

function mark() {
  const c = state.channel, box = $("mark");
  box.hidden = c >= grid.count;
  const x = (c % grid.across) * grid.cell[0] + (grid.cell[0] - 4 - grid.tile[0]) / 2, y = Math.floor(c / grid.across) * grid.cell[1];
  Object.assign(box.style, { left: x - 3 + "px", top: y + 11 + "px", width: grid.tile[0] + 6 + "px", height: grid.tile[1] + 6 + "px" });
}

// --- going somewhere ------------------------------------------------------------------------------------------------
function address() {
  const parts = new URLSearchParams();
  if (state.layer) { parts.set("layer", state.layer); parts.set("channel", state.channel); }
  if (state.map !== "best") parts.set("map", state.map || "none");
  history.replaceState(null, "", location.pathname + (parts.size ? "#" + parts : ""));
}

function fromAddress() {
  const parts = new URLSearchParams(location.hash.slice(1)), map = parts.get("map");
  return { layer: parts.get("layer") || "", channel: /^\d+$/.test(parts.get("channel") || "") ? Number(parts.get("channel")) : 0,
    map: map === "none" ? "" : /^(\d+|best|saliency)$/.test(map || "") ? map : "best" };
}

function go(to, keep = false) {
  const before = { ...state };
  Object.assign(state, to);
  if (about && !about.layers.some((layer) => layer.name === state.layer)) state.layer = "";
  if (!about?.model.classes) state.map = "";
  if (about && state.map === "saliency" && !about.attached.saliency) state.map = "best";
  const l = about ? about.layers.findIndex((layer) => layer.name === state.layer) : -1;
  for (const item of $("layers").children) item.setAttribute("aria-selected", String(item.id === `layer-${l}`));
  $("layers").setAttribute("aria-activedescendant", l < 0 ? "" : `layer-${l}`);
  $("h-grid").textContent = state.layer || "Channels";
  const item = $(`layer-${l}`), list = $("layers");
  if (item && item.offsetTop < list.scrollTop) list.scrollTop = item.offsetTop - 8;
  else if (item && item.offsetTop + item.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = item.offsetTop + item.offsetHeight + 8 - list.clientHeight;
  const select = $("map");
  select.querySelector("[data-one]")?.remove();
  if (/^\d+$/.test(state.map)) select.append(element("option", { value: state.map, "data-one": true }, `of ${about?.labels[state.map] ?? `class ${state.map}`}`));
  select.value = state.map;
  if (!state.layer && before.layer) {
    $("grid").width = $("grid").height = $("big").width = $("big").height = 1; $("grid").style.height = ""; $("mark").hidden = true; grid.count = 0;
    $("layer-facts").textContent = "Choose a layer: its channels are computed while you watch them."; $("h-detail").textContent = "Channel";
    delete $("grid").dataset.drawn;
  }
  if (!keep && (state.layer !== before.layer || state.channel !== before.channel)) $("said").textContent = state.layer ? `${state.layer}, channel ${state.channel}` : "no layer";
  if (!keep) address();
  if (state.layer !== before.layer || state.map !== before.map) again();
  else if (state.channel !== before.channel && channels?.sheet && channels.entry.name === state.layer) { drawChannel(channels.entry, new Set(channels.entry.blank)); mark(); }
}

const shown = () => about ? about.layers.filter((_, l) => !$(`layer-${l}`).hidden) : [];

function stepLayer(by) {
  const list = shown(), n = list.findIndex((layer) => layer.name === state.layer);
  if (list.length) go({ layer: list[n < 0 ? 0 : Math.max(0, Math.min(list.length - 1, n + by))].name, channel: 0 });
}

function step(by) {
  if (!grid.count) return;
  go({ channel: Math.max(0, Math.min(grid.count - 1, state.channel + by)) });
  $("mark").scrollIntoView({ block: "nearest" });
}

function pause() {
  const button = $("pause"), paused = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(paused));
  button.textContent = paused ? "Go on" : "Pause";
  if (!paused) notice("");
  again();
}

function save() {
  const canvases = [$("picture"), ...(grid.count ? [$("grid")] : [])], width = Math.max(...canvases.map((c) => c.width));
  const sheet = element("canvas", { width, height: canvases.reduce((sum, c) => sum + c.height + 8, 24) }), context = sheet.getContext("2d");
  context.fillStyle = theme("--paper"); context.fillRect(0, 0, sheet.width, sheet.height);
  let y = 0;
  for (const canvas of canvases) { context.drawImage(canvas, 0, y); y += canvas.height + 8; }
  context.fillStyle = theme("--ink"); context.font = "13px sans-serif";
  context.fillText(`${about.model.path}, ${about.source.name}, frame ${last?.head.frame}${state.layer ? `, ${state.layer}` : ""}`, 6, y + 12);
  sheet.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: `frame-${last?.head.frame}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

function listen() {
  $("grid").addEventListener("click", (event) => {
    const column = Math.floor(event.offsetX / grid.cell[0]), c = Math.floor(event.offsetY / grid.cell[1]) * grid.across + column;
    if (column < grid.across && c < grid.count) go({ channel: c });
  });
  $("grid").addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.across, ArrowDown: grid.across, Home: -1e9, End: 1e9 }, pages = { PageUp: -1, PageDown: 1 };
    if (event.key in moves) step(moves[event.key]);
    else if (event.key in pages) stepLayer(pages[event.key]);
    else return;
    event.preventDefault();
  });
  $("layers").addEventListener("keydown", (event) => {
    const moves = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    stepLayer(moves[event.key]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") pause();
    else if (event.key === "m") go({ map: state.map === "" ? "best" : "" });
    else return;
    event.preventDefault();
  });
  $("search").addEventListener("input", () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    about?.layers.forEach((layer, l) => {
      const text = `${layer.name} ${layer.kind} ${layer.shape.join("x")} ${layer.shape.join(" × ")}`.toLowerCase();
      $(`layer-${l}`).hidden = !words.every((word) => text.includes(word));
    });
    $("layers-count").textContent = words.length ? `${shown().length} of ${about.layers.length} layers` : "";
  });
  $("search").addEventListener("keydown", (event) => { if (event.key === "Enter" && shown().length) go({ layer: shown()[0].name, channel: 0 }); });
  $("map").addEventListener("change", () => go({ map: $("map").value }));
  $("any").addEventListener("change", () => {
    const text = $("any").value.trim(), n = about ? about.labels.findIndex((label) => label.toLowerCase() === text.toLowerCase()) : -1;
    const index = n >= 0 ? n : /^\d+$/.test(text) && Number(text) < about.model.classes ? Number(text) : -1;
    if (text && index < 0) notice(`There is no class ${text}.`); else if (text) go({ map: String(index) });
  });
  $("opacity").addEventListener("input", () => { state.opacity = Number($("opacity").value); drawPicture(); });
  $("pause").addEventListener("click", pause);
  $("save").addEventListener("click", save);
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    for (const one of Object.values(charts)) one.redraw(false, true);
    drawGrid();
  });
  window.addEventListener("hashchange", () => go(fromAddress(), true));
  document.addEventListener("visibilitychange", again);
  window.addEventListener("resize", () => {
    for (const [id, one] of Object.entries(charts)) one.setSize({ width: $(id).clientWidth, height: $(id).clientHeight });
    drawGrid();
  });
}

if (location.search) history.replaceState(null, "", location.pathname + location.hash); // the token is in the cookie now
Object.assign(state, fromAddress());
listen();
run();
})();
