// The list of layers, the chart of zeros, the address, and every way to get from one place to another.
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

const USUAL = { sort: "number", show: "all", scale: "channel", colormap: "viridis" };

function address() {
  const parts = new URLSearchParams({ layer: layers[state.layer].name, channel: state.channel });
  if (images.length > 1) parts.set("picture", state.image);
  for (const [key, usual] of Object.entries(USUAL)) if (state[key] !== usual) parts.set(key, state[key]);
  if (state.scale === "fixed") for (const key of ["low", "high"]) parts.set(key, state[key]);
  if (state.cls) parts.set("class", state.cls);
  if (state.method !== methods[0]) parts.set("method", state.method);
  if (state.view !== "evidence") parts.set("view", state.view);
  if (guess.some(Boolean)) parts.set("evidence", guess.join(","));
  return "#" + parts;
}

// What an address asks for; keys that it leaves out are as on a fresh page. Nothing where it is no address of ours.
function fromAddress() {
  const parts = new URLSearchParams(location.hash.slice(1)), whole = (text, end) => /^\d+$/.test(text ?? "") && Number(text) < end;
  if (!["layer", "channel", "picture"].some((key) => parts.has(key))) return {};
  const to = { image: 0, channel: 0, cls: 0, method: methods[0] || "", low: 0, high: 6, view: "evidence", ...USUAL };
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
  if (parts.get("view") === "classes" && (data.live?.boxes || images.some((image) => image.segments))) to.view = "classes";
  const asked = (parts.get("evidence") || "").split(",");
  to.guess = images.map((image, i) => whole(asked[i], image.top.length) ? Number(asked[i]) : 0);
  return to;
}

async function go(to, keepAddress = false) {
  if (!channelTables[to.image ?? state.image]?.length) return; // nothing is known of that picture yet
  const before = { ...state }, { guess: asked = guess, ...rest } = to, seen = guess.join();
  Object.assign(state, rest);
  asked.forEach((n, i) => { guess[i] = n; const radio = $(`guess-${i}-${n}`); if (radio) radio.checked = true; });
  const table = channelTables[state.image][state.layer];
  if (state.channel >= table.count) state.channel = 0;
  if (state.layer !== before.layer || state.image !== before.image) state.limit = PAGE;
  for (const key of ["image", "sort", "show", "scale", "colormap", "low", "high", "method"]) $(key).value = state[key];
  if ($("view")) showView();
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
  if (state.colormap !== before.colormap || !go.drawn) for (const id of ["grid-bar", "cam-bar"]) bar($(id), tables[state.colormap]);
  if (["colormap", "method", "view"].some((key) => state[key] !== before[key]) || guess.join() !== seen || !go.drawn) images.forEach((_, i) => drawPicture(i));
  if (state.image !== before.image || !go.drawn) { showZeros(); classes(); }
  $("class").value = state.cls;
  go.drawn = true;
  if (!keepAddress) history.replaceState(null, "", address());
  const same = ["image", "layer", "sort", "cls", "show", "scale", "low", "high", "colormap", "limit"].every((key) => state[key] === before[key]);
  await Promise.all([same && grid.list.length ? markChannel() : drawGrid(), drawDetail()]);
  source.moved?.(before);
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
