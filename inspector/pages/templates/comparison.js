// Two networks side by side: the list of pairs, the chart, the three grids of a pair, the address and the keys.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent), layers = data.layers, LEVELS = data.levels;
const tables = Object.fromEntries(Object.entries(data.colormaps).map(([k, v]) => [k, bytes(v)]));
const USUAL = { image: 0, order: "depth", scale: "channel" };
const state = { layer: 0, place: 0, ...USUAL };
const kept = new Map();
const decibels = (x) => x === null ? "–" : x >= 100 ? "≥ 100 dB" : x <= -100 ? "≤ −100 dB" : `${x.toFixed(1)} dB`.replace("-", "−");
// From red at 10 dB over yellow to green at 80 dB; light enough for dark text in both themes.
const shade = (x) => `hsl(${Math.round(130 * Math.max(0, Math.min(1, (x - 10) / 70)))} 62% 78%)`;

function sheetOf(i, l, n) {
  const key = `${i}-${l}-${n}`;
  if (!kept.has(key)) {
    if (kept.size > 36) kept.delete(kept.keys().next().value);
    kept.set(key, (async () => {
      const picture = new Image();
      picture.src = "data:image/png;base64," + $(`sprite-${key}`).textContent.trim();
      await picture.decode();
      const canvas = element("canvas", { width: picture.width, height: picture.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      const rgba = context.getImageData(0, 0, picture.width, picture.height).data, levels = new Uint8Array(rgba.length / 4);
      for (let k = 0; k < levels.length; k++) levels[k] = rgba[4 * k];
      return { levels, width: picture.width };
    })());
  }
  return kept.get(key);
}

function tileOf(sheet, [h, w], place) {
  const across = sheet.width / w, top = Math.floor(place / across) * h, left = (place % across) * w, out = new Uint8Array(h * w);
  for (let y = 0; y < h; y++) out.set(sheet.levels.subarray((top + y) * sheet.width + left, (top + y) * sheet.width + left + w), y * w);
  return out;
}

// --- the list ---------------------------------------------------------------------------------------------------------
const cellOf = (name, small) => element("span", {}, element("span", { class: "name" }, name), element("small", {}, small));
const rowsShown = () => [...$("rows").children].filter((item) => !item.hidden && item.dataset.layer !== undefined);

function buildRows() {
  const rows = state.order === "depth" ? data.rows : [...data.rows].filter((row) => row.pair !== undefined)
    .sort((a, b) => layers[a.pair].sqnr_db - layers[b.pair].sqnr_db || a.pair - b.pair);
  $("rows").replaceChildren(...rows.map((row) => {
    if (row.pair === undefined) {
      const item = element("li", { class: "alone", role: "presentation" });
      item.append(row.a ? cellOf(row.a, "only here") : element("span"), element("span", { class: "db" }), row.b ? cellOf(row.b, "only here") : element("span"));
      return item;
    }
    const l = row.pair, layer = layers[l], chip = element("span", { class: "db" }, layer.note ? "shape" : decibels(layer.sqnr_db));
    chip.style.background = shade(layer.sqnr_db);
    const item = element("li", { id: `row-${l}`, role: "option", "aria-selected": "false", class: layer.parted ? "parted" : "", "data-layer": l },
      cellOf(layer.layer, `${layer.kind} · ${layer.a_shape.slice(1).join(" × ")}`), chip,
      cellOf(layer.b_layer, layer.matched === "name" ? layer.b_shape.slice(1).join(" × ") : `by ${layer.matched} · ${layer.b_shape.slice(1).join(" × ")}`));
    item.addEventListener("click", () => go({ layer: l, place: 0 }));
    return item;
  }));
  search();
}

function search() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of $("rows").children) item.hidden = !words.every((word) => item.textContent.toLowerCase().includes(word));
  $("rows-count").textContent = words.length ? `${rowsShown().length} of ${layers.length} pairs` : "";
}

// --- the chart --------------------------------------------------------------------------------------------------------
function depth() {
  const svg = $("depth"), width = Math.max(280, svg.clientWidth || 1000), height = 190, left = 52, right = 12, top = 10, bottom = 26;
  const found = layers.filter((x) => !x.note).flatMap((x) => [x.sqnr_db, x.own_db ?? 100]), low = Math.min(0, ...found.map((x) => Math.floor(x / 20) * 20));
  const at = (l) => left + (layers.length > 1 ? l / (layers.length - 1) : 0.5) * (width - left - right);
  const up = (x) => top + (1 - (x - low) / (100 - low)) * (height - top - bottom);
  const make = (tag, attributes, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return node;
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (let x = low; x <= 100; x += (100 - low) / 5) {
    svg.append(make("line", { class: "rule", x1: left, x2: width - right, y1: up(x), y2: up(x) }),
      make("text", { x: left - 6, y: up(x) + 4, "text-anchor": "end" }, `${Math.round(x)} dB`));
  }
  svg.append(make("text", { x: left, y: height - 6 }, "first layer"), make("text", { x: width - right, y: height - 6, "text-anchor": "end" }, "last layer"));
  if (data.parted !== null) svg.append(make("line", { class: "parted", x1: at(data.parted), x2: at(data.parted), y1: top, y2: height - bottom }));
  svg.append(make("polyline", { class: "line", points: layers.flatMap((x, l) => x.note ? [] : [`${at(l)},${up(x.sqnr_db)}`]).join(" ") }));
  const radius = width < 600 ? 3 : 4.5;
  layers.forEach((layer, l) => {
    if (layer.own_db !== null) svg.append(make("circle", { cx: at(l), cy: up(layer.own_db), r: radius - 1, class: "own", "aria-hidden": "true" }));
  });
  layers.forEach((layer, l) => {
    const told = `${layer.layer}: ${layer.note ? `B's ${layer.note}` : decibels(layer.sqnr_db)}${layer.parted && !layer.note ? ", parted" : ""}`;
    const dot = make("circle", { cx: at(l), cy: layer.note ? height - bottom : up(layer.sqnr_db), class: layer.note ? "own" : "", r: radius, "data-layer": l, role: "button", "aria-label": told,
      "aria-current": String(l === state.layer), tabindex: l === state.layer ? 0 : -1 });
    dot.append(make("title", {}, told));
    dot.addEventListener("click", () => go({ layer: l, place: 0 }));
    svg.append(dot);
  });
}

// --- the grids --------------------------------------------------------------------------------------------------------
const grid = { across: 1, cell: [1, 1], turn: 0 };
const NAMES = ["a", "b", "apart"];

// The colors of the levels of the channel at `place`: its own range holds them, the layer's may be wider.
function colorsOf(tiles, place, n) {
  if (n === 2) {
    const most = state.scale === "layer" ? Math.max(...tiles.apart) : tiles.apart[place], own = tiles.apart[place];
    return levelColors({ min: -own, span: 2 * own, single: false }, [-most, most], tables.diverging, tables.diverging.slice(3 * 127, 3 * 128), LEVELS);
  }
  const range = state.scale === "layer" ? [Math.min(...tiles.low), Math.max(...tiles.high)] : [tiles.low[place], tiles.high[place]];
  return levelColors({ min: tiles.low[place], span: tiles.high[place] - tiles.low[place], single: false }, range, tables.viridis, rgb(theme("--zero")), LEVELS);
}

async function drawGrids() {
  const turn = ++grid.turn, { layer: l, image: i } = state, tiles = layers[l].tiles[i], count = tiles.channels.length;
  $("grids").hidden = !count;
  if (!count) return;
  const sheets = await Promise.all(NAMES.map((_, n) => sheetOf(i, l, n)));
  if (turn !== grid.turn) return;
  const [h, w] = tiles.tile, width = $("grids").querySelector("figure").clientWidth, wanted = width < 160 ? 28 : 44;
  const times = wanted / Math.max(h, w), tile = [w * times, h * times], cell = [tile[0] + 4, tile[1] + 17];
  const across = Math.max(1, Math.floor((width + 4) / cell[0])), rows = Math.ceil(count / across);
  Object.assign(grid, { across, cell, count });
  NAMES.forEach((name, n) => {
    const canvas = $(`grid-${name}`), ratio = devicePixelRatio;
    canvas.width = width * ratio; canvas.height = rows * cell[1] * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "10.5px system-ui, sans-serif"; context.textAlign = "center"; context.fillStyle = theme("--muted");
    tiles.channels.forEach((channel, place) => {
      const x = (place % across) * cell[0], y = Math.floor(place / across) * cell[1];
      context.fillStyle = theme("--muted");
      context.fillText(String(channel), x + tile[0] / 2, y + 11);
      paint(context, tileOf(sheets[n], tiles.tile, place), w, h, colorsOf(tiles, place, n), x, y + 14, tile[0], tile[1], false);
      if (place === state.place) {
        context.strokeStyle = theme("--accent"); context.lineWidth = 2.5;
        context.strokeRect(x + 1, y + 15, tile[0] - 2, tile[1] - 2);
      }
    });
    canvas.setAttribute("aria-label", `${count} channels of ${n === 2 ? "the difference" : layers[l][n ? "b_layer" : "layer"]}`);
  });
  drawChannel(sheets);
}

function drawChannel(sheets) {
  const { layer: l, image: i, place } = state, layer = layers[l], tiles = layer.tiles[i], channel = tiles.channels[place], [h, w] = tiles.tile;
  $("h-channel").textContent = `Channel ${channel}`;
  NAMES.forEach((name, n) => {
    const canvas = $(`big-${name}`), times = Math.max(1, Math.floor(240 / Math.max(h, w)));
    canvas.width = w * times; canvas.height = h * times;
    paint(canvas.getContext("2d"), tileOf(sheets[n], tiles.tile, place), w, h, colorsOf(tiles, place, n), 0, 0, canvas.width, canvas.height, false);
    canvas.setAttribute("aria-label", `Channel ${channel}: ${n === 2 ? "B minus A" : n ? "B" : "A"}`);
  });
  const rows = [["signal to noise", tiles.db.length ? decibels(tiles.db[place]) + " over all pictures" : "–"],
    ["values on this picture", `${number(tiles.low[place])} to ${number(tiles.high[place])}`],
    ["largest difference", number(tiles.apart[place])]];
  $("numbers").replaceChildren(...rows.flatMap(([k, v]) => [element("dt", {}, k), element("dd", {}, v)]));
  $("detail").dataset.drawn = `${i}-${l}-${place}-${state.scale}`;
  $("said").textContent = `${layer.layer}, channel ${channel}: ${rows[0][1]}`;
}

// --- the address and the keys -----------------------------------------------------------------------------------------
function address() {
  const tiles = layers[state.layer].tiles[state.image], parts = new URLSearchParams({ layer: layers[state.layer].layer });
  if (tiles.channels.length) parts.set("channel", tiles.channels[state.place]);
  for (const [key, usual] of Object.entries(USUAL)) if (state[key] !== usual) parts.set(key === "image" ? "picture" : key, state[key]);
  return "#" + parts;
}

function fromAddress() {
  const parts = new URLSearchParams(location.hash.slice(1)), to = { place: 0, ...USUAL };
  if (!parts.has("layer")) return {};
  const l = layers.findIndex((layer) => layer.layer === parts.get("layer"));
  if (l >= 0) to.layer = l;
  const image = Number(parts.get("picture"));
  if (Number.isInteger(image) && image >= 0 && image < data.images.length) to.image = image;
  for (const key of ["order", "scale"]) if ([...$(key).options].some((option) => option.value === parts.get(key))) to[key] = parts.get(key);
  const place = layers[to.layer ?? state.layer].tiles[to.image].channels.indexOf(Number(parts.get("channel")));
  if (place >= 0 && parts.has("channel")) to.place = place;
  return to;
}

async function go(to, keepAddress = false) {
  const before = { ...state };
  Object.assign(state, to);
  const layer = layers[state.layer], tiles = layer.tiles[state.image];
  state.place = Math.max(0, Math.min(tiles.channels.length - 1, state.place));
  if (state.order !== before.order || !go.drawn) buildRows();
  for (const key of ["image", "order", "scale"]) $(key).value = state[key];
  $("h-grid").textContent = layer.layer === layer.b_layer ? layer.layer : `${layer.layer} and ${layer.b_layer}`;
  const began = layer.began === null ? "" : ` Of its drift ${percent(layer.began)} began here${layer.parted && !layer.note ? `, ${number(layer.excess)} times what rounding explains` : ""}.`;
  $("facts").textContent = layer.note ? `B's ${layer.note}.` : `${decibels(layer.sqnr_db)} over all pictures; own error ${decibels(layer.own_db)}; largest difference ${number(layer.max_abs)}; ` +
    `worst channel ${layer.worst_channel}, ${decibels(layer.worst_channel_db)}${layer.cka === null ? "" : `; CKA ${layer.cka.toFixed(4)}`}.${began}` +
    (tiles.channels.length < layer.a_shape[1] ? ` The ${tiles.channels.length} worst of ${layer.a_shape[1]} channels are shown.` : "");
  for (const item of $("rows").children) item.setAttribute("aria-selected", String(item.id === `row-${state.layer}`));
  const item = $(`row-${state.layer}`), list = $("rows");
  list.setAttribute("aria-activedescendant", `row-${state.layer}`);
  if (item.offsetTop < list.scrollTop) list.scrollTop = item.offsetTop - 8;
  else if (item.offsetTop + item.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = item.offsetTop + item.offsetHeight + 8 - list.clientHeight;
  for (const dot of $("depth").querySelectorAll("circle[data-layer]")) {
    const here = Number(dot.dataset.layer) === state.layer;
    dot.setAttribute("aria-current", String(here));
    dot.setAttribute("tabindex", here ? 0 : -1);
  }
  go.drawn = true;
  if (!keepAddress) history.replaceState(null, "", address());
  await drawGrids();
}

function stepLayer(by) {
  const list = rowsShown().map((item) => Number(item.dataset.layer)), n = list.indexOf(state.layer);
  if (list.length) return go({ layer: list[n < 0 ? 0 : Math.max(0, Math.min(list.length - 1, n + by))], place: 0 });
}

function onKeys(target, moves, act) {
  $(target).addEventListener("keydown", (event) => {
    if (!(event.key in moves)) return;
    event.preventDefault();
    act(moves[event.key], event.key);
  });
}

$("image-label").hidden = data.images.length < 2;
fill($("image"), data.images.map((image, i) => [i, image.name]));
bar($("bar-values"), tables.viridis);
bar($("bar-apart"), tables.diverging);
depth();
onKeys("rows", { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 }, stepLayer);
onKeys("grids", { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 0, ArrowDown: 0, Home: -1e9, End: 1e9, PageUp: 0, PageDown: 0 }, (by, key) => {
  if (key.startsWith("Page")) return stepLayer(key === "PageUp" ? -1 : 1);
  go({ place: state.place + (key === "ArrowUp" ? -grid.across : key === "ArrowDown" ? grid.across : by) });
});
onKeys("depth", { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }, (by) => {
  go({ layer: Math.max(0, Math.min(layers.length - 1, state.layer + by)), place: 0 });
  $("depth").querySelector('[aria-current="true"]').focus();
});
for (const name of NAMES) {
  $(`grid-${name}`).addEventListener("click", (event) => {
    const column = Math.floor(event.offsetX / grid.cell[0]), place = Math.floor(event.offsetY / grid.cell[1]) * grid.across + column;
    if (column < grid.across && place < grid.count) go({ place });
  });
}
$("search").addEventListener("input", search);
$("order").addEventListener("change", () => go({ order: $("order").value }));
$("scale").addEventListener("change", () => go({ scale: $("scale").value }));
$("image").addEventListener("change", () => go({ image: Number($("image").value) }));
$("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  drawGrids();
});
window.addEventListener("hashchange", () => go(fromAddress(), true));
let waiting = 0;
window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { drawGrids(); depth(); }, 120); });
const start = data.parted ?? layers.reduce((best, layer, l) => layer.sqnr_db < layers[best].sqnr_db ? l : best, 0);
go({ layer: start, ...fromAddress() }, true);
