// The panes in the middle and on the right: the channels of a layer, and one of them in full.
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

// The colors of the levels of one channel, as it is drawn in the present scale.
function palette(i, l, c, zero) {
  const table = channelTables[i][l];
  return levelColors({ min: table.min[c], span: table.span(c), single: table.single }, range(i, l, c), tables[state.colormap], zero, LEVELS);
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
  const sheet = await source.sprite(i, l);
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
  const sheet = await source.sprite(i, l);
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

// The same channel over every picture.
async function drawSides(turn) {
  const { layer: l, channel: c } = state, box = $("sides");
  const made = [];
  for (let i = 0; i < images.length; i++) {
    const entry = images[i]?.layers[l], table = channelTables[i]?.[l]; // of a live page a picture may be on its way
    if (!entry || !entry.places || c >= table.count || entry.shape.length !== 3 || entry.tile[0] * entry.tile[1] < 2) continue;
    const sheet = await source.sprite(i, l);
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
