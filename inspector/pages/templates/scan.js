// The channels of a network with their best patches, and sheets of pictures. Only what is near the window is in the page.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const FIELDS = ["layer", "channel", "sprite", "row", "mean", "std", "peak", "low", "high", "zeros", "sparsity", "selectivity",
  "active", "flags", "classes", "similar", "values", "pictures", "histogram", "pattern"];
const channels = data.channels.map((row, k) => ({ ...Object.fromEntries(FIELDS.map((f, i) => [f, row[i]])), k }));
const sheets = data.sheets, BATCH = 8, MARGIN = 400, NAMED = 20;
let chosen = [], only = null;

function make(tag, more = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(more)) key === "class" ? node.className = value : node.setAttribute(key, value);
  node.append(...inside.filter((x) => x !== null && x !== undefined));
  return node;
}
const number = (x) => x === null || x === undefined ? "–" : Math.abs(x) >= 1000 || (x && Math.abs(x) < 0.001) ? x.toExponential(2) : String(+x.toPrecision(3));
const share = (x) => x === null || x === undefined ? "–" : `${(100 * x).toFixed(1)} %`;
const address = (path) => path.split("/").map(encodeURIComponent).join("/");

// --- channels ---------------------------------------------------------------------------------------------------------
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) {
    const strip = entry.target;
    strip.style.backgroundImage = `url("${address(strip.dataset.sprite)}")`;
    watcher.unobserve(strip);
  }
}, { rootMargin: "300px" });

function stripOf(c) {
  const strip = make("div", { class: "strip", role: "img", "aria-label": c.sprite ? `Patches that excite channel ${c.channel} most` : "No picture excites it" });
  strip.style.width = `${data.tile * data.top}px`;
  if (c.sprite) {
    strip.style.backgroundPosition = `0 -${c.row * data.tile}px`;
    strip.dataset.sprite = c.sprite;
    watcher.observe(strip);
  }
  if (!c.pattern) return strip;
  return make("div", { class: "pair" }, patternOf(c), strip);
}
function patternOf(c) {
  const [file, row] = c.pattern, drawn = make("div", { class: "pattern", role: "img", "aria-label": `Pattern that channel ${c.channel} responds to` });
  drawn.style.backgroundPosition = `0 calc(-1 * var(--side) * ${row})`;
  drawn.dataset.sprite = data.patterns[file];
  watcher.observe(drawn);
  return drawn;
}
const nameOf = (c) => `${data.layers[c.layer].name} : ${c.channel}`;

function cardOf(c, at) {
  const name = make("button", { class: "name", type: "button" }, nameOf(c));
  name.onclick = () => open(c);
  const facts = make("span", { class: "facts" }, `peak ${number(c.peak)} · zeros ${share(c.zeros)}`, make("br"),
    `selectivity ${number(c.selectivity)} · sparsity ${number(c.sparsity)}`);
  const chips = make("div", { class: "chips" }, ...c.classes.slice(0, 4).map((k) => chipOf(data.classes[k], () => seek(data.classes[k]))));
  if (c.similar.length) chips.append(chipOf("similar channels", () => similar(c)));
  const mark = c.flags & 1 ? make("span", { class: "mark" }, "dead") : c.flags & 2 ? make("span", { class: "mark" }, "always on") : null;
  return make("li", { "data-channel": c.k, "aria-setsize": chosen.length, "aria-posinset": at + 1 }, make("div", {}, name, " ", mark, facts), stripOf(c), chips);
}
function chipOf(text, act) {
  const chip = make("button", { type: "button" }, text);
  chip.onclick = act;
  return chip;
}

function choose() {
  const layer = $("layer").value, text = $("search").value.trim().toLowerCase(), order = $("order").value, state = $("state").value;
  const classes = new Set(data.classes.flatMap((name, k) => text && name.toLowerCase().includes(text) ? [k] : []));
  const asNumber = /^\d+$/.test(text) ? Number(text) : null;
  chosen = only ? only.map((k) => channels[k]) : channels.filter((c) =>
    (layer === "all" || c.layer === Number(layer)) &&
    (state === "all" || (state === "dead" ? c.flags & 1 : c.flags & 2)) &&
    (!text || c.channel === asNumber || c.classes.slice(0, 3).some((k) => classes.has(k))));
  if (!only) {
    if (order !== "number") chosen.sort((a, b) => (b[order] ?? -Infinity) - (a[order] ?? -Infinity) || a.k - b.k);
    else if (classes.size) chosen.sort((a, b) => rank(a, classes) - rank(b, classes) || (b.selectivity ?? -1) - (a.selectivity ?? -1) || a.k - b.k);
  }
  clear();
  $("count").textContent = only ? `${chosen.length} channels: ${nameOf(chosen[0])} and those whose means by class are most like its own` : `${chosen.length.toLocaleString("en")} of ${channels.length.toLocaleString("en")} channels`;
  show();
}
const rank = (c, classes) => c.classes.findIndex((k) => classes.has(k));

// Cards come in batches. A batch that is far from the window is only its height, measured when it was last shown, or else
// the mean of those that were; so ten thousand channels have a scroll bar of the right length, and the page stays small.
let heights = [], shown = new Map(), usual = 900, waiting = false;
function clear() {
  for (const cards of shown.values()) drop(cards);
  shown = new Map();
  heights = Array(Math.ceil(chosen.length / BATCH)).fill(null);
}
function drop(cards) {
  for (const card of cards) { for (const drawn of card.querySelectorAll(".strip, .pattern")) watcher.unobserve(drawn); card.remove(); }
}
const heightOf = (k) => heights[k] ?? usual * (Math.min(BATCH, chosen.length - k * BATCH) / BATCH);
function show() {
  const list = $("cards"), top = -list.getBoundingClientRect().top;
  let first = 0, last = -1, above = 0, below = 0, y = 0;
  for (let k = 0; k < heights.length; k++) {
    const height = heightOf(k);
    if (y + height < top - MARGIN && k < heights.length - 1) { first = k + 1; above += height; }
    else if (y <= top + innerHeight + MARGIN || last < first) last = k;
    else below += height;
    y += height;
  }
  for (const [k, cards] of shown) if (k < first || k > last) { drop(cards); shown.delete(k); }
  let fresh = false;
  const after = (k) => { for (let other = k + 1; other <= last; other++) if (shown.has(other)) return shown.get(other)[0]; return null; };
  for (let k = first; k <= last; k++) if (!shown.has(k)) {
    const cards = chosen.slice(k * BATCH, (k + 1) * BATCH).map((c, i) => cardOf(c, k * BATCH + i)), next = after(k);
    for (const card of cards) list.insertBefore(card, next);
    shown.set(k, cards);
    fresh = true;
  }
  list.style.paddingTop = `${above}px`;
  list.style.paddingBottom = `${below}px`;
  if (fresh) { measure(first, last); show(); }  // What was measured may leave room for more.
}
function measure(first, last) {
  const gap = parseFloat(getComputedStyle($("cards")).rowGap) || 0;
  for (let k = first; k <= last; k++) {
    const cards = shown.get(k);
    if (cards) heights[k] = cards.at(-1).getBoundingClientRect().bottom - cards[0].getBoundingClientRect().top + gap;
  }
  const known = heights.slice(0, -1).filter((h) => h !== null);
  if (known.length) usual = known.reduce((sum, h) => sum + h, 0) / known.length;
}
function showSoon() {
  if (waiting || $("channels").hidden) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; show(); });
}
addEventListener("scroll", showSoon, { passive: true });
addEventListener("resize", () => { heights.fill(null); showSoon(); });
function seek(text) { only = null; $("layer").value = "all"; $("state").value = "all"; $("search").value = text; select("channels"); choose(); }
function similar(c) { only = [c.k, ...c.similar]; $("search").value = ""; select("channels"); choose(); scrollTo(0, 0); }

function open(c) {
  const total = c.histogram.reduce((sum, [, n]) => sum + n, 0) || 1, largest = Math.max(1, ...c.histogram.map(([, n]) => n));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const bins = c.histogram.map(([b]) => b), first = Math.min(...bins), last = Math.max(...bins), step = 640 / (last - first + 1);
  svg.setAttribute("viewBox", "0 0 640 90"); svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "How many pictures have their largest value where, on a scale of powers of two");
  for (const [b, n] of c.histogram) {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect"), h = 80 * n / largest;
    for (const [key, value] of Object.entries({ x: (b - first) * step, y: 85 - h, width: Math.max(1, step - 1), height: h, fill: "var(--accent)" })) bar.setAttribute(key, value);
    svg.append(bar);
  }
  $("detail-body").replaceChildren(
    make("h2", { id: "detail-title" }, nameOf(c)), stripOf(c),
    make("p", { class: "facts" }, `mean ${number(c.mean)} · std ${number(c.std)} · ${number(c.low)} to ${number(c.high)} · above 0 on ${share(c.active)} of the pictures`),
    make("p", { class: "hint" }, `Its largest value on each of ${total.toLocaleString("en")} pictures, by powers of two`), svg,
    make("p", {}, c.classes.length ? `Excited most by ${c.classes.map((k) => data.classes[k]).join(", ")}` : ""),
    make("ol", {}, ...c.pictures.map((p, i) => {
      const text = `${data.paths[p] ?? `picture ${p}`} · ${number(c.values[i])}`;
      return make("li", {}, placeOf.has(p) ? linkOf(text, () => openPicture(placeOf.get(p))) : text);
    })));
  if (!$("detail").open) $("detail").showModal();
}

// --- pictures ---------------------------------------------------------------------------------------------------------
const placeOf = new Map(sheets.numbers.map((n, place) => [n, place]));
function linkOf(text, act) {
  const link = make("button", { type: "button", class: "link" }, text);
  link.onclick = act;
  return link;
}
function paint(node, place, scale) {
  const per = data.across * data.rows, file = sheets.sprites[Math.floor(place / per)], at = place % per, side = data.tile * scale;
  node.style.backgroundImage = `url("${address(file)}")`;
  node.style.backgroundSize = `${data.across * side}px auto`;
  node.style.backgroundPosition = `-${(at % data.across) * side}px -${Math.floor(at / data.across) * side}px`;
  return node;
}
function thumbOf(place) {
  const thumb = paint(make("button", { class: "thumb", type: "button", "aria-label": `Open ${sheets.pictures[place].path}` }), place, 1);
  thumb.onclick = () => openPicture(place);
  return thumb;
}
function openPicture(place) {
  const p = sheets.pictures[place], own = data.embedding === null ? [] : p.channels.map((n) => channels.find((c) => c.layer === data.embedding && c.channel === n)).filter(Boolean);
  const facts = [p.label !== null ? `label ${p.label}${p.own !== null ? ` (${share(p.own)})` : ""}` : "no label", p.predicted ? `answer ${p.predicted} (${share(p.confidence)})` : null,
    p.suggested ? `the label is probably ${p.suggested}` : null, `${number(p.outlier)} times the usual distance to its neighbours`, `cluster ${p.cluster}`];
  $("detail-body").replaceChildren(
    make("h2", { id: "detail-title" }, p.path), paint(make("div", { class: "large", role: "img", "aria-label": p.path }), place, 3),
    make("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    make("p", { class: "hint" }, own.length ? "Channels that lie furthest above their mean on it" : `Numbers of its embedding that lie furthest above their mean: ${p.channels.join(", ")}`),
    make("div", { class: "chips" }, ...own.map((c) => chipOf(nameOf(c), () => open(c)))));
  if (!$("detail").open) $("detail").showModal();
}
function tileOf(place, ...lines) {
  const p = sheets.pictures[place];
  return make("div", { class: "tile" }, thumbOf(place), make("div", {}, ...lines.filter(Boolean).map((x) => make("span", {}, x)), make("span", { class: "path" }, p.path)));
}
const fills = {
  suspects: () => $("suspects").querySelector("ul").append(...sheets.suspects.map((k) => {
    const p = sheets.pictures[k];
    return make("li", {}, tileOf(k, `${p.label} → ${p.suggested}`, `${share(p.own)} for its label`));
  })),
  outliers: () => $("outliers").querySelector("ul").append(...sheets.outliers.map((k) => {
    const p = sheets.pictures[k];
    return make("li", {}, tileOf(k, `${number(p.outlier)} times the usual distance`, p.predicted ? `${p.predicted} ${share(p.confidence)}` : ""));
  })),
  copies: () => $("copies").querySelector("ul").append(...sheets.copies.map((group) =>
    make("li", {}, ...group.map((k) => tileOf(k, sheets.pictures[k].label ?? ""))))),
  classes: fillClasses, map: drawMap, channels: () => {},
};
function fillClasses() {
  $("classes").querySelector("tbody").append(...data.answers.classes.map((row) => {
    const name = make("button", { type: "button" }, row.class);
    name.onclick = () => seek(row.class);
    return make("tr", {}, make("th", { scope: "row" }, name), ...[row.labelled, row.predicted].map((x) => make("td", {}, x.toLocaleString("en"))),
      ...[row.recall, row.precision, row.confidence].map((x) => make("td", {}, share(x))));
  }));
  $("judged").hidden = !data.answers.judged;
  $("confusions").append(...data.answers.confusions.slice(0, 30).map((x) => make("li", {}, `${x.label} taken for ${x.predicted}: ${x.pictures.toLocaleString("en")}`)));
  const draw = (tag, more, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(more)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    $("calibration").append(node);
  };
  draw("line", { x1: 30, y1: 290, x2: 310, y2: 10, stroke: "var(--rule)" });
  for (const bin of data.answers.calibration) draw("circle", { cx: 30 + 280 * bin.confidence, cy: 290 - 280 * bin.accuracy, r: 3 + 7 * Math.sqrt(bin.pictures / Math.max(1, data.answers.judged)), fill: "var(--accent)", "fill-opacity": .7 });
  draw("text", { x: 170, y: 312, "text-anchor": "middle" }, "confidence");
  draw("text", { x: 12, y: 150, transform: "rotate(-90 12 150)", "text-anchor": "middle" }, "share that is right");
}

// --- the map ----------------------------------------------------------------------------------------------------------
const HUES = [210, 28, 130, 0, 275, 45, 320, 180, 90, 240, 15, 160];
function drawMap() {
  const canvas = $("points"), context = canvas.getContext("2d"), by = $("color").value, pad = 14;
  const points = sheets.points.map((k) => ({ k, ...sheets.pictures[k] }));
  const kind = (p) => by === "right" ? (p.label === null ? "no label" : p.label === p.predicted ? "right" : "wrong") : String(p[by] ?? "none");
  const counts = new Map();
  for (const p of points) counts.set(kind(p), (counts.get(kind(p)) ?? 0) + 1);
  const kinds = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, HUES.length);
  const colorOf = (p) => { const i = kinds.indexOf(kind(p)); return i < 0 ? "#8888" : `hsl(${HUES[i]} 65% 52%)`; };
  const xs = points.map((p) => p.x), ys = points.map((p) => p.y);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const place = (p) => [pad + (canvas.width - 2 * pad) * (p.x - x0) / (x1 - x0 || 1), canvas.height - pad - (canvas.height - 2 * pad) * (p.y - y0) / (y1 - y0 || 1)];
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const p of points) { const [x, y] = place(p); context.fillStyle = colorOf(p); context.beginPath(); context.arc(x, y, 3.5, 0, 7); context.fill(); }
  $("legend").replaceChildren(...kinds.map((name, i) => { const dot = make("i"); dot.style.background = `hsl(${HUES[i]} 65% 52%)`; return make("span", {}, dot, `${name} (${counts.get(name)})`); }));
  canvas.onpointermove = (event) => {
    const box = canvas.getBoundingClientRect(), x = (event.clientX - box.left) * canvas.width / box.width, y = (event.clientY - box.top) * canvas.height / box.height;
    let best = null, least = 400;
    for (const p of points) { const [a, b] = place(p), far = (a - x) ** 2 + (b - y) ** 2; if (far < least) { least = far; best = p; } }
    if (best) $("shown").replaceChildren(tileOf(best.k, best.label ? `label ${best.label}` : "", best.predicted ? `${best.predicted} ${share(best.confidence)}` : "", `cluster ${best.cluster}`));
  };
}

// --- tabs -------------------------------------------------------------------------------------------------------------
const tabs = [...document.querySelectorAll("[role=tab]")], filled = new Set();
function select(name) {
  for (const tab of tabs) {
    const own = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", own);
    tab.tabIndex = own ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !own;
  }
  if (!filled.has(name)) { filled.add(name); fills[name](); }
  if (name === "channels") showSoon();
}
for (const [i, tab] of tabs.entries()) {
  tab.onclick = () => select(tab.getAttribute("aria-controls"));
  tab.onkeydown = (event) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1 }[event.key];
    if (to !== undefined) { const next = tabs[(to + tabs.length) % tabs.length]; next.focus(); next.click(); }
  };
}
$("layer").append(make("option", { value: "all" }, "all layers"), ...data.layers.map((x, k) => make("option", { value: k }, `${x.name} (${x.channels})`)));
$("layer").value = String(data.layers.length - 1);
for (const id of ["layer", "order", "state"]) $(id).onchange = () => { only = null; choose(); };
function suggest() {
  const text = $("search").value.trim().toLowerCase();
  const names = text ? data.classes.filter((name) => name.toLowerCase().includes(text)) : data.classes;
  $("names").replaceChildren(...names.slice(0, NAMED).map((name) => make("option", { value: name })));
}
suggest();
$("search").oninput = () => { only = null; suggest(); if ($("search").value) $("layer").value = "all"; choose(); };
$("color").onchange = drawMap;
select("channels");
choose();
