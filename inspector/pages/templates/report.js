"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const layers = data.layers, images = data.images, LEVELS = data.levels;
const PAGE = 2048; // channels drawn before "more" is asked for
const state = { image: 0, layer: 0, channel: 0, sort: "number", cls: 0, show: "all", scale: "channel",
  low: 0, high: 6, colormap: "viridis", method: "", opacity: 55, limit: PAGE };
const guess = images.map(() => 0); // the class whose map each picture shows
const methods = [...new Set(images.flatMap((image) => image.cams.map((cam) => cam.method)))];

const bytes = (text) => {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) out[n] = raw.charCodeAt(n);
  return out;
};
const tables = Object.fromEntries(Object.entries(data.colormaps).map(([k, v]) => [k, bytes(v)]));
const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const percent = (x) => x === null ? "not finite" : x === 0 ? "0 %" : x === 1 ? "100 %" : x < 0.0005 ? "< 0.1 %" : x >= 0.9995 ? "> 99.9 %" : (100 * x).toFixed(1) + " %";
const number = (x) => x === null || !isFinite(x) ? "not finite" : x === 0 ? "0" : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== false) node.setAttribute(key, value === true ? "" : value);
  node.append(...children);
  return node;
};

// --- numbers of every channel ---------------------------------------------------------------------------------------
const channelTables = images.map((image, i) => {
  const raw = bytes($(`channels-${i}`).textContent.trim()).buffer;
  let at = 0;
  return image.layers.map((entry) => {
    const count = entry.shape[0];
    const take = (Type, size) => { const out = new Type(raw.slice(at, at + size * count)); at += size * count; return out; };
    const min = take(Float32Array, 4), max = take(Float32Array, 4);
    const mean = take(Uint16Array, 2), std = take(Uint16Array, 2), zero = take(Uint16Array, 2);
    const single = entry.tile[0] * entry.tile[1] === 1, constant = new Set(entry.blank);
    return { count, min, max, single,
      span: (c) => max[c] - min[c],
      mean: (c) => min[c] + mean[c] / 65535 * (max[c] - min[c]),
      std: (c) => std[c] / 65535 * (max[c] - min[c]),
      zero: (c) => zero[c] / 65535,
      blank: (c) => constant.has(c) };
  });
});

// --- sprites --------------------------------------------------------------------------------------------------------
const kept = new Map();
function sprite(i, l) {
  const key = `${i}-${l}`;
  if (!kept.has(key)) {
    if (kept.size > 12) kept.delete(kept.keys().next().value);
    kept.set(key, (async () => {
      const picture = new Image();
      picture.src = "data:image/png;base64," + $(`sprite-${key}`).textContent.trim();
      await picture.decode();
      const canvas = element("canvas", { width: picture.width, height: picture.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      const rgba = context.getImageData(0, 0, picture.width, picture.height).data;
      const levels = new Uint8Array(rgba.length / 4);
      for (let n = 0; n < levels.length; n++) levels[n] = rgba[4 * n];
      return { levels, width: picture.width, height: picture.height };
    })());
  }
  return kept.get(key);
}

function tileOf(sheet, i, l, c) {
  const [h, w] = images[i].layers[l].tile, across = sheet.width / w;
  const top = Math.floor(c / across) * h, left = (c % across) * w;
  const out = new Uint8Array(h * w);
  for (let y = 0; y < h; y++) out.set(sheet.levels.subarray((top + y) * sheet.width + left, (top + y) * sheet.width + left + w), y * w);
  return out;
}

function range(i, l, c) {
  const table = channelTables[i][l], entry = images[i].layers[l];
  if (state.scale === "fixed") return [state.low, state.high];
  if (state.scale === "layer" || table.single) return [entry.min ?? 0, entry.max ?? 1];
  return [table.min[c], table.max[c]];
}

// The color of every level of one channel: 256 entries, as it is drawn in the present scale.
function palette(i, l, c, zero) {
  const table = channelTables[i][l], [low, high] = range(i, l, c), colors = tables[state.colormap];
  const out = new Uint8ClampedArray(256 * 4), span = high - low;
  for (let level = 1; level <= LEVELS + 1; level++) {
    const value = table.single ? table.min[c] : table.min[c] + (level - 1) / LEVELS * table.span(c);
    const index = span > 0 ? Math.max(0, Math.min(255, Math.round((value - low) / span * 255))) : 0;
    out.set([colors[3 * index], colors[3 * index + 1], colors[3 * index + 2], 255], 4 * level);
  }
  out.set([...zero, 255], 0);
  out.set([255, 0, 255, 255], 4 * 255);
  return out;
}

function hatch(context, x, y, w, h) {
  context.save();
  context.beginPath(); context.rect(x, y, w, h); context.clip();
  context.fillStyle = "#e4e4ea"; context.fillRect(x, y, w, h);
  context.strokeStyle = "#8a8a92"; context.lineWidth = 2;
  context.beginPath();
  for (let d = -h; d < w; d += 7) { context.moveTo(x + d, y + h); context.lineTo(x + d + h, y); }
  context.stroke(); context.restore();
}

function bar(canvas) {
  const context = canvas.getContext("2d"), colors = tables[state.colormap];
  for (let x = 0; x < canvas.width; x++) {
    const n = 3 * Math.round(x / (canvas.width - 1) * 255);
    context.fillStyle = `rgb(${colors[n]},${colors[n + 1]},${colors[n + 2]})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

// --- which channels, in which order ---------------------------------------------------------------------------------
function relevance() {
  const found = images[state.image].relevance;
  return found && found.layer === layers[state.layer].name && found.values[state.cls] ? found.values[state.cls] : null;
}

function order() {
  const table = channelTables[state.image][state.layer];
  let list = Array.from({ length: table.count }, (_, c) => c);
  if (state.show === "live") list = list.filter((c) => !table.blank(c));
  if (state.show === "blank") list = list.filter((c) => table.blank(c));
  const adds = relevance();
  const keys = { mean: table.mean, max: (c) => table.max[c], zero: table.zero, relevance: adds ? (c) => adds[c] : null };
  const key = keys[state.sort];
  const rank = (c) => Number.isNaN(key(c)) ? -Infinity : key(c); // a broken channel comes last
  return key ? list.sort((a, b) => rank(b) - rank(a) || a - b) : list;
}

// --- the grid -------------------------------------------------------------------------------------------------------
const grid = { list: [], across: 1, cell: [1, 1], tile: [1, 1], ready: 0 };

async function drawGrid() {
  const turn = ++grid.ready, i = state.image, l = state.layer, entry = images[i].layers[l], [h, w] = entry.tile;
  const sheet = await sprite(i, l);
  if (turn !== grid.ready) return;
  const all = order(), list = all.slice(0, state.limit), canvas = $("grid"), width = $("grid-box").clientWidth;
  const wanted = all.length <= 64 ? 64 : 36, times = Math.max(1, Math.floor(wanted / Math.max(h, w)));
  const tile = [w * times, h * times], gap = 4, label = 14;
  const cell = [Math.max(tile[0], 26) + gap, tile[1] + label + gap];
  const across = Math.max(1, Math.floor((width + gap) / cell[0])), rows = Math.ceil(list.length / across);
  Object.assign(grid, { list, across, cell, tile });
  const ratio = rows * cell[1] * devicePixelRatio > 16000 ? 1 : devicePixelRatio;
  canvas.width = width * ratio; canvas.height = Math.max(1, rows * cell[1]) * ratio;
  canvas.style.height = Math.max(1, rows * cell[1]) + "px";
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.imageSmoothingEnabled = false;
  context.font = "10.5px system-ui, sans-serif"; context.textAlign = "center"; context.fillStyle = theme("--muted");
  const zero = rgb(theme("--zero")), table = channelTables[i][l];
  const colored = element("canvas", { width: w, height: h }), small = colored.getContext("2d");
  const pixels = small.createImageData(w, h);
  list.forEach((c, n) => {
    const x = (n % across) * cell[0] + (cell[0] - gap - tile[0]) / 2, y = Math.floor(n / across) * cell[1];
    context.fillText(String(c), x + tile[0] / 2, y + label - 3);
    if (table.blank(c)) { hatch(context, x, y + label, tile[0], tile[1]); return; }
    const colors = palette(i, l, c, zero), levels = tileOf(sheet, i, l, c);
    for (let p = 0; p < levels.length; p++) pixels.data.set(colors.subarray(4 * levels[p], 4 * levels[p] + 4), 4 * p);
    small.putImageData(pixels, 0, 0);
    context.drawImage(colored, x, y + label, tile[0], tile[1]);
  });
  $("more").hidden = all.length <= list.length;
  $("more").textContent = `Show more channels (${list.length} of ${all.length} are drawn)`;
  canvas.setAttribute("aria-label", `${all.length} channels of ${layers[l].name}`);
  canvas.dataset.drawn = `${i}-${l}-${state.sort}-${state.show}-${state.scale}-${list.length}`;
  markChannel();
}

function markChannel() {
  const n = grid.list.indexOf(state.channel), mark = $("mark");
  mark.hidden = n < 0;
  if (n < 0) return;
  const x = (n % grid.across) * grid.cell[0] + (grid.cell[0] - 4 - grid.tile[0]) / 2, y = Math.floor(n / grid.across) * grid.cell[1];
  Object.assign(mark.style, { left: x - 3 + "px", top: y + 11 + "px", width: grid.tile[0] + 6 + "px", height: grid.tile[1] + 6 + "px" });
}

// --- the channel ----------------------------------------------------------------------------------------------------
async function drawDetail() {
  const turn = (drawDetail.turn = (drawDetail.turn || 0) + 1), { image: i, layer: l, channel: c } = state;
  const sheet = await sprite(i, l);
  if (turn !== drawDetail.turn) return;
  const [h, w] = images[i].layers[l].tile, table = channelTables[i][l], levels = tileOf(sheet, i, l, c);
  const title = `${layers[l].name}, channel ${c}`;
  $("h-detail").textContent = title;
  const canvas = $("big"), times = Math.max(1, Math.floor(320 / Math.max(h, w)));
  canvas.width = w * times; canvas.height = h * times;
  const context = canvas.getContext("2d");
  if (table.blank(c)) hatch(context, 0, 0, canvas.width, canvas.height);
  else paint(context, levels, w, h, palette(i, l, c, rgb(theme("--zero"))), 0, 0, canvas.width, canvas.height, false);
  canvas.setAttribute("aria-label", `Activation of ${title} on ${images[i].name}`);
  const shape = images[i].layers[l].shape.slice(1), reduced = shape.reduce((a, b) => a * b, 1) !== h * w;
  histogram(levels, table, c, reduced ? `${h} × ${w}` : "");
  const adds = relevance();
  const rows = [["minimum", number(table.min[c])], ["maximum", number(table.max[c])], ["mean", number(table.mean(c))],
    ["standard deviation", number(table.std(c))], ["zero fraction", percent(table.zero(c))]];
  if (table.blank(c)) rows.push(["constant", "on this picture"]);
  if (adds) rows.push([`adds to ${images[i].top[state.cls].label}`, number(adds[c])]);
  $("numbers").replaceChildren(...rows.flatMap(([k, v]) => [element("dt", {}, k), element("dd", {}, v)]));
  $("made").textContent = `${data.model.path}, ${layers[l].name}, channel ${c} on ${images[i].name}; ` +
    `${shape.join(" × ") || "one"} element${shape.length ? "s" : ""}${reduced ? `, drawn as ${h} × ${w}` : ""}; scale ${state.scale}; inspector ${data.version}`;
  await drawSides(turn);
  drawPatterns();
  $("detail").dataset.drawn = `${i}-${l}-${c}`;
  $("said").textContent = `${title}: mean ${number(table.mean(c))}, maximum ${number(table.max[c])}, ${percent(table.zero(c))} zero${table.blank(c) ? ", constant on this picture" : ""}`;
}

function paint(context, levels, w, h, colors, x, y, width, height, smooth) {
  const small = element("canvas", { width: w, height: h }), inner = small.getContext("2d"), pixels = inner.createImageData(w, h);
  for (let p = 0; p < levels.length; p++) pixels.data.set(colors.subarray(4 * levels[p], 4 * levels[p] + 4), 4 * p);
  inner.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.drawImage(small, x, y, width, height);
}

function histogram(levels, table, c, reduced) {
  const canvas = $("histogram"), width = canvas.clientWidth || 300, height = 96, ratio = devicePixelRatio;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const [low, high] = range(state.image, state.layer, c), colors = tables[state.colormap], bins = new Float64Array(48);
  let zeros = 0, bad = 0, outside = 0;
  for (const level of levels) {
    if (level === 255) { bad++; continue; }
    if (level === 0) { zeros++; continue; }
    const value = table.single ? table.min[c] : table.min[c] + (level - 1) / LEVELS * table.span(c);
    if (value < low || value > high) outside++;
    bins[Math.max(0, Math.min(47, Math.floor((high > low ? (value - low) / (high - low) : 0) * 48)))]++;
  }
  const most = Math.max(1, ...bins), base = 62;
  context.fillStyle = theme("--muted");
  for (let b = 0; b < 48; b++) {
    const tall = bins[b] ? Math.max(1, bins[b] / most * 54) : 0;
    context.fillRect(b * width / 48 + 0.5, base - tall, width / 48 - 1, tall);
  }
  for (let x = 0; x < width; x++) {
    const n = 3 * Math.round(x / (width - 1) * 255);
    context.fillStyle = `rgb(${colors[n]},${colors[n + 1]},${colors[n + 2]})`;
    context.fillRect(x, base + 2, 1, 9);
  }
  context.fillStyle = theme("--ink"); context.font = "11px system-ui, sans-serif";
  context.textAlign = "left"; context.fillText(number(low), 0, base + 24);
  context.textAlign = "right"; context.fillText(number(high), width, base + 24);
  const parts = [`${percent(table.zero(c))} exactly zero, not in the bars`]; // of the full map, as in the numbers below
  if (outside) parts.push(`${outside} outside the range`);
  if (bad) parts.push(`${bad} not finite`);
  if (reduced) parts.push(`bars count the map as drawn, ${reduced}`);
  context.textAlign = "center"; context.fillStyle = theme("--muted");
  const told = parts.filter((_, n) => n || zeros).join("; ");
  $("bars").textContent = told;
  canvas.setAttribute("aria-label", `Histogram from ${number(low)} to ${number(high)}; ${parts.join("; ")}`);
}

const photos = images.map((image) => { const picture = new Image(); picture.src = image.picture; return picture; });

// The same channel over every picture.
async function drawSides(turn) {
  const { layer: l, channel: c } = state, box = $("sides");
  const made = [];
  for (let i = 0; i < images.length; i++) {
    const entry = images[i].layers[l], table = channelTables[i][l];
    if (!entry || !entry.places || c >= table.count || entry.shape.length !== 3 || entry.tile[0] * entry.tile[1] < 2) continue;
    const sheet = await sprite(i, l);
    await photos[i].decode();
    if (turn !== drawDetail.turn) return;
    const canvas = element("canvas", { role: "img", "aria-label": `Channel ${c} over ${images[i].name}` });
    const figure = element("figure", { class: "side" }, canvas);
    const k = photos[i].width / images[i].size[0], [x0, y0, x1, y1] = images[i].box.map((v) => v * k);
    canvas.width = photos[i].width; canvas.height = photos[i].height;
    const context = canvas.getContext("2d");
    context.drawImage(photos[i], 0, 0);
    const levels = tileOf(sheet, i, l, c), [h, w] = entry.tile;
    let told = `over ${images[i].name}, clear where it is exactly zero`;
    if (table.blank(c)) told = `constant on ${images[i].name}`;
    else {
      const colors = palette(i, l, c, [0, 0, 0]);
      for (let level = 0; level < 256; level++) colors[4 * level + 3] = level ? 160 : 0; // where it is zero, the picture
      paint(context, levels, w, h, colors, x0, y0, x1 - x0, y1 - y0, true);
    }
    const caption = element("figcaption", {}, told);
    hover(canvas, (x, y) => {
      const px = Math.floor((x - x0) / (x1 - x0) * w), py = Math.floor((y - y0) / (y1 - y0) * h);
      if (px < 0 || py < 0 || px >= w || py >= h) return null;
      const level = levels[py * w + px];
      return level === 255 ? "not finite" : level === 0 ? 0 : table.min[c] + (level - 1) / LEVELS * table.span(c);
    }, caption, told);
    figure.append(caption);
    made.push(figure);
  }
  box.replaceChildren(...made);
}

function drawPatterns() {
  const found = (data.parts.filters || {})[layers[state.layer].name], mine = found && found[state.channel];
  const made = !mine ? [] : mine.map((one) => element("figure", { class: "pattern" },
    element("img", { src: one.picture, alt: one.title }), element("figcaption", {}, one.title)));
  $("patterns").replaceChildren(...made);
}

function hover(canvas, valueAt, caption, told) {
  canvas.addEventListener("pointermove", (event) => {
    const k = canvas.width / canvas.clientWidth, x = event.offsetX * k, y = event.offsetY * k, value = valueAt(x, y);
    caption.textContent = value === null ? told : `${told}: ${typeof value === "number" ? number(value) : value} here`;
  });
  canvas.addEventListener("pointerleave", () => { caption.textContent = told; });
}

// --- pictures with their class activation maps -------------------------------------------------------------------------
function camOf(i) {
  const top = images[i].top[guess[i]];
  return top && images[i].cams.find((cam) => cam.method === state.method && cam.class === top.index);
}

function valueOn(cam, x, y) { // bilinear between the centres of the cells; x, y in 0..1 of the box
  const [h, w] = cam.shape, u = Math.max(0, Math.min(w - 1, x * w - 0.5)), v = Math.max(0, Math.min(h - 1, y * h - 0.5));
  const a = Math.floor(u), b = Math.floor(v), c = Math.min(w - 1, a + 1), d = Math.min(h - 1, b + 1), s = u - a, t = v - b, m = cam.map;
  return (m[b * w + a] * (1 - s) + m[b * w + c] * s) * (1 - t) + (m[d * w + a] * (1 - s) + m[d * w + c] * s) * t;
}

async function drawPicture(i) {
  const canvas = $(`picture-${i}`), photo = photos[i];
  await photo.decode();
  canvas.width = photo.width; canvas.height = photo.height;
  const context = canvas.getContext("2d", { willReadFrequently: true }), cam = camOf(i), caption = $(`caption-${i}`);
  context.drawImage(photo, 0, 0);
  canvas.valueAt = () => null;
  let told = `${images[i].name}, ${images[i].size.join(" × ")} pixels`;
  if (cam) {
    const k = photo.width / images[i].size[0], [x0, y0, x1, y1] = cam.box.map((v) => v * k);
    told += `; ${cam.method} at ${cam.layer} for ${cam.label}, ${cam.backend === "onnx" ? "without torch" : "by the torch twin"}`;
    if (cam.empty) told += ": no positive evidence";
    else {
      const pixels = context.getImageData(0, 0, canvas.width, canvas.height), colors = tables[state.colormap], alpha = state.opacity / 100;
      for (let y = Math.max(0, Math.floor(y0)); y < Math.min(canvas.height, y1); y++)
        for (let x = Math.max(0, Math.floor(x0)); x < Math.min(canvas.width, x1); x++) {
          const n = 3 * Math.round(255 * valueOn(cam, (x + 0.5 - x0) / (x1 - x0), (y + 0.5 - y0) / (y1 - y0))), p = 4 * (y * canvas.width + x);
          for (let q = 0; q < 3; q++) pixels.data[p + q] += alpha * (colors[n + q] - pixels.data[p + q]);
        }
      context.putImageData(pixels, 0, 0);
      canvas.valueAt = (x, y) => x < x0 || y < y0 || x >= x1 || y >= y1 ? null : valueOn(cam, (x - x0) / (x1 - x0), (y - y0) / (y1 - y0));
    }
  }
  if (cam && cam.found) { // the box that the map is of: white inside black can be seen on every picture
    const k = photo.width / images[i].size[0], [x0, y0, x1, y1] = cam.found.map((v) => v * k);
    for (const [width, color] of [[4, "#000"], [2, "#fff"]]) {
      context.lineWidth = width; context.strokeStyle = color; context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  }
  canvas.told = caption.textContent = told;
  canvas.setAttribute("aria-label", told);
  canvas.dataset.drawn = `${guess[i]}-${state.method}-${state.opacity}`;
}

function buildPictures() {
  images.forEach((image, i) => {
    const canvas = element("canvas", { id: `picture-${i}`, role: "img" }), caption = element("figcaption", { id: `caption-${i}` });
    const set = image.top.length ? element("fieldset", {}, element("legend", {}, "Evidence for")) : element("div");
    image.top.forEach((top, n) => {
      const radio = element("input", { type: "radio", id: `guess-${i}-${n}`, name: `guess-${i}`, value: n, checked: n === 0 });
      radio.addEventListener("change", () => go({ guess: guess.map((old, j) => j === i ? n : old) }));
      const fill = element("i");
      fill.style.width = 100 * Math.max(0, Math.min(1, top.probability || 0)) + "%";
      set.append(element("label", { class: "guess" }, radio, element("span", { class: "name" }, top.label),
        element("span", { class: "p" }, percent(top.probability)), element("span", { class: "meter" }, fill)));
    });
    const save = element("button", { type: "button" }, "Save as PNG");
    save.addEventListener("click", () => store([canvas], canvas.told, `cam-${image.name}`));
    set.append(save);
    $("pictures").append(element("figure", { class: "picture" }, canvas, set, caption));
    canvas.addEventListener("pointermove", (event) => {
      const k = canvas.width / canvas.clientWidth, value = canvas.valueAt(event.offsetX * k, event.offsetY * k);
      caption.textContent = value === null ? canvas.told : `${canvas.told}: ${value.toFixed(2)} here`;
    });
    canvas.addEventListener("pointerleave", () => { caption.textContent = canvas.told; });
  });
  state.method = methods[0] || "";
  fill($("method"), methods.map((m) => [m, m]));
  $("cam-controls").hidden = !methods.length;
}

// --- saving ---------------------------------------------------------------------------------------------------------
function store(canvases, told, name) {
  const width = Math.max(360, ...canvases.map((c) => c.width)), words = told.split(" "), lines = [""];
  const ruler = element("canvas").getContext("2d");
  ruler.font = "13px sans-serif";
  for (const word of words) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (ruler.measureText(longer).width > width - 16) lines.push(word); else lines[lines.length - 1] = longer;
  }
  const height = canvases.reduce((sum, c) => sum + c.height + 8, 0) + lines.length * 18 + 8;
  const sheet = element("canvas", { width, height }), context = sheet.getContext("2d");
  context.fillStyle = "#fff"; context.fillRect(0, 0, width, height);
  let y = 0;
  for (const canvas of canvases) { context.drawImage(canvas, 0, y); y += canvas.height + 8; }
  context.fillStyle = "#1b1b1f"; context.font = "13px sans-serif";
  lines.forEach((line, n) => context.fillText(line, 8, y + 14 + 18 * n));
  sheet.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]+/g, "_") + ".png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

// --- layers ---------------------------------------------------------------------------------------------------------
const shown = () => layers.map((_, l) => l).filter((l) => !$(`layer-${l}`).hidden);

function buildLayers() {
  layers.forEach((layer, l) => {
    const bar = element("span", { class: "zeros" }, element("i"));
    const item = element("li", { id: `layer-${l}`, role: "option", "aria-selected": "false" },
      element("span", { class: "name" }, layer.name),
      element("small", {}, element("span", {}, `${layer.kind} · ${layer.shape.join(" × ")}`), bar));
    item.addEventListener("click", () => go({ layer: l, channel: 0 }));
    $("layers").append(item);
  });
}

function showZeros() {
  layers.forEach((_, l) => {
    const { zero, empty } = images[state.image].layers[l], item = $(`layer-${l}`);
    item.querySelector("i").style.width = 100 * (zero ?? 0) + "%";
    item.title = empty ? "empty on this picture" : `${percent(zero)} of the values are zero`;
  });
  depth();
}

function search() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  layers.forEach((layer, l) => {
    const text = `${layer.name} ${layer.kind} ${layer.shape.join("x")} ${layer.shape.join(" x ")} ${layer.shape.join(" × ")}`.toLowerCase();
    $(`layer-${l}`).hidden = !words.every((word) => text.includes(word));
  });
  $("layers-count").textContent = words.length ? `${shown().length} of ${layers.length} layers` : "";
}

function depth() {
  const svg = $("depth"), width = Math.max(280, svg.clientWidth || 1000), height = 190, left = 44, right = 12, top = 10, bottom = 26;
  const at = (l) => left + (layers.length > 1 ? l / (layers.length - 1) : 0.5) * (width - left - right);
  const up = (zero) => top + (1 - zero) * (height - top - bottom);
  const make = (tag, attributes, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return node;
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(make("line", { class: "rule", x1: left, x2: width - right, y1: up(share), y2: up(share) }));
    svg.append(make("text", { x: left - 6, y: up(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
  }
  svg.append(make("text", { x: left, y: height - 6 }, "first layer"), make("text", { x: width - right, y: height - 6, "text-anchor": "end" }, "last layer"));
  layers.forEach((layer, l) => {
    const { zero, empty } = images[state.image].layers[l];
    if (empty) return;
    const dot = make("circle", { cx: at(l), cy: up(zero), r: width < 600 ? 3 : 4.5, class: layer.kind === "activation" ? "" : "other", "data-layer": l,
      "aria-current": String(l === state.layer), role: "button", tabindex: l === state.layer ? 0 : -1, "aria-label": `${layer.name}: ${percent(zero)} zero` });
    dot.append(make("title", {}, `${layer.name}: ${percent(zero)}`));
    dot.addEventListener("click", () => go({ layer: l, channel: 0 }));
    svg.append(dot);
  });
  $("depth-hint").textContent = `Share of the values that are exactly zero, on ${images[state.image].name}. Filled: activation layers. Click a point to go there, or walk with the arrow keys.`;
}

// --- going somewhere ------------------------------------------------------------------------------------------------
function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
}

const USUAL = { sort: "number", show: "all", scale: "channel", colormap: "viridis" };

function address() {
  const parts = new URLSearchParams({ layer: layers[state.layer].name, channel: state.channel });
  if (images.length > 1) parts.set("picture", state.image);
  for (const [key, usual] of Object.entries(USUAL)) if (state[key] !== usual) parts.set(key, state[key]);
  if (state.scale === "fixed") for (const key of ["low", "high"]) parts.set(key, state[key]);
  if (state.cls) parts.set("class", state.cls);
  if (state.method !== methods[0]) parts.set("method", state.method);
  if (guess.some(Boolean)) parts.set("evidence", guess.join(","));
  return "#" + parts;
}

// What an address asks for; keys that it leaves out are as on a fresh page. Nothing where it is no address of ours.
function fromAddress() {
  const parts = new URLSearchParams(location.hash.slice(1)), whole = (text, end) => /^\d+$/.test(text ?? "") && Number(text) < end;
  if (!["layer", "channel", "picture"].some((key) => parts.has(key))) return {};
  const to = { image: 0, channel: 0, cls: 0, method: methods[0] || "", low: 0, high: 6, ...USUAL };
  const l = layers.findIndex((layer) => layer.name === parts.get("layer"));
  if (l >= 0) to.layer = l;
  if (whole(parts.get("picture"), images.length)) to.image = Number(parts.get("picture"));
  if (whole(parts.get("channel"), channelTables[to.image][to.layer ?? state.layer].count)) to.channel = Number(parts.get("channel"));
  for (const key of Object.keys(USUAL)) {
    const value = parts.get(key);
    if (value && [...$(key).options].some((option) => option.value === value)) to[key] = value;
  }
  for (const key of ["low", "high"]) if (parts.get(key) && isFinite(parts.get(key))) to[key] = Number(parts.get(key));
  if (whole(parts.get("class"), images[to.image].top.length)) to.cls = Number(parts.get("class"));
  if (methods.includes(parts.get("method"))) to.method = parts.get("method");
  const asked = (parts.get("evidence") || "").split(",");
  to.guess = images.map((image, i) => whole(asked[i], image.top.length) ? Number(asked[i]) : 0);
  return to;
}

async function go(to, keepAddress = false) {
  const before = { ...state }, { guess: asked = guess, ...rest } = to, seen = guess.join();
  Object.assign(state, rest);
  asked.forEach((n, i) => { guess[i] = n; const radio = $(`guess-${i}-${n}`); if (radio) radio.checked = true; });
  const table = channelTables[state.image][state.layer];
  if (state.channel >= table.count) state.channel = 0;
  if (state.layer !== before.layer || state.image !== before.image) state.limit = PAGE;
  for (const key of ["image", "sort", "show", "scale", "colormap", "low", "high", "method"]) $(key).value = state[key];
  $("fixed-range").hidden = state.scale !== "fixed";
  const entry = images[state.image].layers[state.layer], layer = layers[state.layer];
  $("h-grid").textContent = layer.name;
  $("layer-facts").textContent = entry.empty ? `${layer.kind}, ${entry.shape.join(" × ")}; empty on this picture (${images[state.image].name})` : `${layer.kind}, ${entry.shape.join(" × ")}; ${number(entry.min)} to ${number(entry.max)}, mean ${number(entry.mean)}, ` +
    `standard deviation ${number(entry.std)}; ${percent(entry.zero)} zero; ${entry.blank.length} constant channel${entry.blank.length === 1 ? "" : "s"}` +
    (entry.bad ? `; ${entry.bad} values not finite` : "") +
    (entry.apart ? `; ${entry.apart} token${entry.apart === 1 ? "" : "s"} that ${entry.apart === 1 ? "is no place" : "are no places"} left out` : "") + ` (${images[state.image].name})`;
  $("grid-range").textContent = state.scale === "fixed" ? `${number(state.low)} to ${number(state.high)}` : state.scale === "layer" || table.single ?
    `${number(entry.min)} to ${number(entry.max)}, all channels` : "each channel from its lowest to its highest value";
  $("bad-key").hidden = !entry.bad;
  $("sort").querySelector("[value=relevance]").disabled = !relevance();
  $("class-label").hidden = !relevance();
  layers.forEach((_, l) => $(`layer-${l}`).setAttribute("aria-selected", String(l === state.layer)));
  $("layers").setAttribute("aria-activedescendant", `layer-${state.layer}`);
  const list = $("layers"), item = $(`layer-${state.layer}`); // scrolled within the list alone, so that the page stays
  if (item.offsetTop < list.scrollTop) list.scrollTop = item.offsetTop - 8;
  else if (item.offsetTop + item.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = item.offsetTop + item.offsetHeight + 8 - list.clientHeight;
  for (const dot of $("depth").querySelectorAll("circle")) {
    const here = Number(dot.dataset.layer) === state.layer;
    dot.setAttribute("aria-current", String(here));
    dot.setAttribute("tabindex", here ? 0 : -1);
  }
  if (state.colormap !== before.colormap || !go.drawn) { bar($("grid-bar")); bar($("cam-bar")); }
  if (state.colormap !== before.colormap || state.method !== before.method || guess.join() !== seen || !go.drawn) images.forEach((_, i) => drawPicture(i));
  if (state.image !== before.image || !go.drawn) { showZeros(); classes(); }
  $("class").value = state.cls;
  go.drawn = true;
  if (!keepAddress) history.replaceState(null, "", address());
  const same = ["image", "layer", "sort", "cls", "show", "scale", "low", "high", "colormap", "limit"].every((key) => state[key] === before[key]);
  await Promise.all([same && grid.list.length ? markChannel() : drawGrid(), drawDetail()]);
}

function classes() {
  fill($("class"), images[state.image].top.map((top, n) => [n, top.label]));
  $("class").value = state.cls = Math.min(state.cls, Math.max(0, images[state.image].top.length - 1));
}

function step(by) {
  const n = grid.list.indexOf(state.channel), to = Math.max(0, Math.min(grid.list.length - 1, n < 0 ? 0 : n + by));
  if (grid.list.length) go({ channel: grid.list[to] }).then(() => $("mark").scrollIntoView({ block: "nearest" }));
}

function stepLayer(by) {
  const list = shown(), n = list.indexOf(state.layer), to = Math.max(0, Math.min(list.length - 1, n + by));
  if (list.length) go({ layer: list[n < 0 ? 0 : to], channel: 0 });
}

function listen() {
  $("grid").addEventListener("click", (event) => {
    const column = Math.floor(event.offsetX / grid.cell[0]), n = Math.floor(event.offsetY / grid.cell[1]) * grid.across + column;
    if (column < grid.across && n < grid.list.length) go({ channel: grid.list[n] });
  });
  $("grid").addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.across, ArrowDown: grid.across, Home: -1e9, End: 1e9 };
    const pages = { PageUp: -1, PageDown: 1 };
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
  $("depth").addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    go({ layer: Math.max(0, Math.min(layers.length - 1, state.layer + moves[event.key])), channel: 0 });
    $("depth").querySelector('[aria-current="true"]').focus();
  });
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && shown().length) go({ layer: shown()[0], channel: 0 });
  });
  for (const key of ["sort", "show", "scale", "colormap"]) $(key).addEventListener("change", () => go({ [key]: $(key).value }));
  $("image").addEventListener("change", () => go({ image: Number($("image").value) }));
  $("class").addEventListener("change", () => go({ cls: Number($("class").value) }));
  for (const key of ["low", "high"]) $(key).addEventListener("change", () => { const value = Number($(key).value); if (isFinite(value)) go({ [key]: value }); });
  $("more").addEventListener("click", () => go({ limit: state.limit + PAGE }));
  $("method").addEventListener("change", () => go({ method: $("method").value }));
  $("opacity").addEventListener("input", () => { state.opacity = Number($("opacity").value); images.forEach((_, i) => drawPicture(i)); });
  $("save").addEventListener("click", () => store([$("big"), $("histogram"), ...$("sides").querySelectorAll("canvas")], $("made").textContent,
    `${layers[state.layer].name}-channel-${state.channel}`));
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    drawGrid(); drawDetail();
  });
  window.addEventListener("hashchange", () => go(fromAddress(), true));
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { drawGrid(); drawDetail(); depth(); }, 120); });
}

buildPictures();
buildLayers();
fill($("image"), images.map((image, i) => [i, image.name]));
$("image-label").hidden = images.length < 2;
fill($("colormap"), Object.keys(tables).map((name) => [name, name]));
listen();
go({ layer: Math.max(0, layers.findIndex((layer) => layer.kind === "activation")), ...fromAddress() }, true);
})();
