// Three experiments on the picture that is chosen in the panes: cover a part of it, switch channels off, and follow
// what one place sees from layer to layer.
const experiments = { off: new Set(), layer: -1, mask: null, slot: -1, view: null, place: null, waiting: null };

// What changed, in rows { label, before, after } of shares in [0, 1] and in words: classes, objects, or classes of pixels.
function tellChange(image, after) {
  if (data.live.boxes) {
    const scores = after.objects ?? image.boxes.map((one) => one.score), lost = scores.filter((score) => !score).length, many = image.boxes.length;
    const words = !many ? "nothing was found, " : lost ? `${lost} of ${many} object${many === 1 ? "" : "s"} lost` : `still all ${many} object${many === 1 ? "" : "s"}`;
    const fresh = after.fresh ? `${many ? ", and " : ""}${after.fresh} new` : many ? "" : "and nothing is";
    return { rows: image.boxes.slice(0, LISTED).map(({ label, score }, n) => ({ label: `${n}: ${label}`, before: score, after: scores[n] })), verdict: words + fresh };
  }
  const pick = data.live.segments ? (found) => found.segments.slice(0, 3).map((one) => one.index) : (found) => rank(found, 3).map((entry) => entry.index);
  const before = data.live.segments ? { segments: image.segments.classes } : image.found, now = after === image.found ? before : after;
  const share = data.live.segments ? (found, index) => found.segments.find((one) => one.index === index)?.share ?? 0 : (found, index) => found.probabilities[index];
  const rows = [...new Set([...pick(before), ...pick(now)])].map((index) => ({ label: labelOf(index), before: share(before, index), after: share(now, index) }));
  const [was, is] = [pick(before)[0], pick(now)[0]], most = data.live.segments ? " is the largest" : "";
  return { rows, verdict: was === is ? `still ${labelOf(is)}${most}` : `${labelOf(was)} became ${labelOf(is)}${most}` };
}

// Rows with what was before (thin) and is after (thick).
function compare(box, image, after) {
  const meter = (share, kind) => { const bar = element("i", { class: kind }); bar.style.width = 100 * Math.max(0, Math.min(1, share || 0)) + "%"; return bar; };
  const { rows, verdict } = tellChange(image, after), word = data.live.boxes ? (v) => v ? v.toFixed(2) : "gone" : percent;
  box.replaceChildren(...rows.map(({ label, before, after: now }) => element("div", { class: "change" }, element("span", { class: "name" }, label),
    element("span", { class: "p" }, `${word(before)} → ${word(now)}`), element("span", { class: "meter two" }, meter(before, "before"), meter(now, "after")))));
  return verdict;
}

// Only the last of several questions is worth an answer: what comes in while the network works waits, and replaces
// what waited before.
function latest(run) {
  let busy = false, again = false;
  const go = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try { do { again = false; await run(); } while (again); }
    catch (error) { say(`${error.message}.`, null, true); }
    finally { busy = false; }
  };
  return go;
}

// --- cover a part -----------------------------------------------------------------------------------------------------
const SHADES = { grey: [128, 128, 128], black: [0, 0, 0], white: [255, 255, 255] };

function drawCover() {
  const image = images[experiments.slot], photo = photos[experiments.slot], canvas = $("cover"), [x0, y0, x1, y1] = image.box;
  const { width, height } = image.found.view, k = photo.width / image.size[0];
  const context = canvas.getContext("2d");
  context.fillStyle = "#000"; context.fillRect(0, 0, canvas.width, canvas.height);
  const scale = canvas.width / ((x1 - x0) * k);
  context.drawImage(photo, -x0 * k * scale, -y0 * k * canvas.height / ((y1 - y0) * k), photo.width * scale, photo.height * canvas.height / ((y1 - y0) * k));
  const layer = new ImageData(width, height), color = SHADES[$("shade").value];
  experiments.mask.forEach((on, n) => { if (on) layer.data.set([...color, 255], 4 * n); });
  const small = element("canvas", { width, height });
  small.getContext("2d").putImageData(layer, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

const askCover = latest(async () => {
  const image = images[experiments.slot], mask = experiments.mask.slice();
  drawCover();
  const share = mask.reduce((sum, on) => sum + on, 0) / mask.length;
  const found = share ? await ask("cover", { slot: experiments.slot, mask, color: SHADES[$("shade").value] }) : image.found;
  if (images[experiments.slot] !== image) return;
  const verdict = compare($("cover-scores"), image, found);
  $("cover-told").textContent = share ? `${percent(share)} of what the network sees is covered: ${verdict} (${Math.round(found.ms)} ms).` : "Nothing is covered.";
  $("cover").dataset.drawn = share;
});

function brush(event) {
  const canvas = $("cover"), { width, height } = images[experiments.slot].found.view;
  const x = event.offsetX / canvas.clientWidth * width, y = event.offsetY / canvas.clientHeight * height, r = Number($("brush").value) / 100 * Math.min(width, height) / 2;
  for (let v = Math.max(0, Math.floor(y - r)); v < Math.min(height, y + r); v++)
    for (let u = Math.max(0, Math.floor(x - r)); u < Math.min(width, x + r); u++)
      if ((u + 0.5 - x) ** 2 + (v + 0.5 - y) ** 2 <= r * r) experiments.mask[v * width + u] = 1;
  askCover();
}

function resetCover() {
  const { width, height } = images[experiments.slot].found.view, canvas = $("cover");
  experiments.mask = new Uint8Array(width * height);
  const k = 360 / Math.max(width, height);
  canvas.width = Math.round(width * k); canvas.height = Math.round(height * k);
  askCover();
}

// --- switch channels off ------------------------------------------------------------------------------------------------
const askOff = latest(async () => {
  const i = state.image, image = images[i], l = state.layer, channels = [...experiments.off].sort((a, b) => a - b);
  const possible = Boolean(data.live.cuts[l]);
  for (const id of ["toggle", "off-others", "off-clear"]) $(id).disabled = !possible;
  $("toggle").textContent = `Switch channel ${state.channel} ${experiments.off.has(state.channel) ? "on" : "off"}`;
  if (!possible) { $("off-told").textContent = `${layers[l].name} does not lead to what the network answers.`; $("off-scores").replaceChildren(); return; }
  const named = channels.length > 8 ? `${channels.length} of ${channelTables[i][l].count} channels` : channels.length ? `channel${channels.length > 1 ? "s" : ""} ${channels.join(", ")}` : "no channel";
  if (!channels.length) { compare($("off-scores"), image, image.found); $("off-told").textContent = `All channels of ${layers[l].name} are on.`; $("off-told").dataset.off = 0; return; }
  $("off-told").textContent = `Off in ${layers[l].name}: ${named} …`;
  const found = await ask("off", { slot: i, layer: l, channels });
  if (images[i] !== image || state.layer !== l) return;
  $("off-told").textContent = `Off in ${layers[l].name}: ${named}; ${compare($("off-scores"), image, found)} (the rest of the network ran in ${Math.round(found.ms)} ms).`;
  $("off-told").dataset.off = channels.length;
});

// --- what one place sees --------------------------------------------------------------------------------------------------
function outline(context, [x0, y0, x1, y1]) { // white inside black can be seen on every picture
  for (const [width, color] of [[4, "#000"], [2, "#fff"]]) {
    context.lineWidth = width; context.strokeStyle = color; context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

// experiments.place: the centre that is looked at, in shares of what the network sees; the same in every layer.
function drawField() {
  const image = images[state.image], photo = photos[state.image], canvas = $("field"), context = canvas.getContext("2d");
  const entry = image.layers[state.layer], field = data.live.fields[state.layer], { width, height } = image.found.view;
  canvas.width = photo.width * enlargement(photo); canvas.height = photo.height * enlargement(photo);
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  const name = layers[state.layer].name, [h, w] = entry.shape.length === 3 ? entry.shape.slice(1) : [1, 1];
  const k = canvas.width / image.size[0], [x0, y0, x1, y1] = image.box.map((v) => v * k);
  const toPhoto = ([l, t, r, b]) => [x0 + l / width * (x1 - x0), y0 + t / height * (y1 - y0), x0 + r / width * (x1 - x0), y0 + b / height * (y1 - y0)];
  let told = `${name}: every place sees the whole picture.`;
  if (field.size && entry.places) {
    const [py, px] = [Math.min(h - 1, Math.floor(experiments.place[1] * h)), Math.min(w - 1, Math.floor(experiments.place[0] * w))];
    const [top, left] = [py, px].map((p, a) => Math.ceil(field.jump[a] * p + field.first[a] - 1e-6));
    const [bottom, right] = [py, px].map((p, a) => Math.floor(field.jump[a] * p + field.last[a] + 1e-6) + 1);
    context.fillStyle = "rgba(0, 0, 0, 0.55)";
    const [l, t, r, b] = toPhoto([Math.max(0, left), Math.max(0, top), Math.min(width, right), Math.min(height, bottom)]);
    context.beginPath(); context.rect(0, 0, canvas.width, canvas.height); context.rect(l, t, r - l, b - t); context.fill("evenodd");
    outline(context, toPhoto([left, top, right, bottom]));
    told = `${name}: the place in row ${py}, column ${px} of ${h} × ${w} sees ${field.size[0]} × ${field.size[1]} pixels of ${height} × ${width}` +
      (field.everything ? ", and through gates the whole picture." : ".");
  }
  $("field-told").textContent = told;
  canvas.setAttribute("aria-label", told);
  canvas.dataset.drawn = state.layer;
}

// --- together -------------------------------------------------------------------------------------------------------------
experiments.follow = (before) => {
  const image = images[state.image];
  if (!image || !$("cover")) return;
  if (experiments.layer !== state.layer || before.image !== state.image) { experiments.off.clear(); experiments.layer = state.layer; }
  if (experiments.possible) {
    if (experiments.slot !== state.image || experiments.view !== image.found) { experiments.slot = state.image; experiments.view = image.found; resetCover(); }
    askOff();
  }
  drawField();
};

experiments.listen = () => {
  experiments.place = [0.5, 0.5];
  experiments.possible = Boolean(data.live.classifier || data.live.boxes || data.live.segments);
  $("cover-box").hidden = $("off-box").hidden = !experiments.possible;
  let down = false;
  $("cover").addEventListener("pointerdown", (event) => { down = true; $("cover").setPointerCapture(event.pointerId); brush(event); });
  $("cover").addEventListener("pointermove", (event) => { if (down) brush(event); });
  for (const name of ["pointerup", "pointercancel"]) $("cover").addEventListener(name, () => { down = false; });
  $("shade").addEventListener("change", () => askCover());
  $("uncover").addEventListener("click", resetCover);
  const toggle = () => { const c = state.channel; if (!experiments.off.delete(c)) experiments.off.add(c); askOff(); };
  $("toggle").addEventListener("click", toggle);
  $("grid").addEventListener("keydown", (event) => { if (event.key === "o" && !event.ctrlKey && !event.metaKey && !$("toggle").disabled) toggle(); });
  $("off-others").addEventListener("click", () => {
    experiments.off = new Set(Array.from({ length: channelTables[state.image][state.layer].count }, (_, c) => c).filter((c) => c !== state.channel));
    askOff();
  });
  $("off-clear").addEventListener("click", () => { experiments.off.clear(); askOff(); });
  $("field").addEventListener("click", (event) => {
    const canvas = $("field"), image = images[state.image], [x0, y0, x1, y1] = image.box;
    const x = event.offsetX / canvas.clientWidth * image.size[0], y = event.offsetY / canvas.clientHeight * image.size[1];
    experiments.place = [(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)].map((v) => Math.max(0, Math.min(0.999999, v)));
    drawField();
  });
  $("field-before").addEventListener("click", () => go({ layer: Math.max(0, state.layer - 1), channel: 0 }));
  $("field-after").addEventListener("click", () => go({ layer: Math.min(layers.length - 1, state.layer + 1), channel: 0 }));
};
