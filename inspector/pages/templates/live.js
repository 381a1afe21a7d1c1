// The live page: pictures come from the reader, and the network in the worker makes what the panes show.
const LISTED = 12; // boxes that are listed beside a picture; all are drawn
const ROUND = 500; // milliseconds of D-RISE before its map is drawn anew
const SLOTS = 8; // pictures side by side; the next one takes the place of the oldest
const live = { sheets: [], next: 0, busy: 0, camera: -1, reserved: new Set(), ready: false };

const source = {
  sprite: async (i, l) => live.sheets[i][l],
  // The map that a picture is to show, unless it is there already.
  async prepareMap(i) {
    const image = images[i], top = image.top[guess[i]], method = state.method, key = `${method} ${top?.index}`;
    if (!method || state.view === "classes" || camOf(i) || image.failed.has(key) || (!top && method !== "eigencam")) return;
    if (method === "drise") { explainBoxes(i); return; } // the map comes when there is one
    try {
      const found = await ask("map", { slot: i, method, index: top ? top.index : null });
      if (images[i] !== image) return; // another picture has taken its place
      keepMap(image, found, method, top, found.attached ? found.layer : layers[data.live.cam.layer].name);
      if (!$("progress").hidden && live.ready) say(`Ready. ${image.name}: ${image.told}.`);
    } catch (error) {
      image.failed.add(key); // said once, and not tried again whenever something is drawn
      say(`${image.name}: ${error.message}.`, null, true);
    }
  },
  moved: (before) => { experiments.follow(before); addRelevance(state.image); },
};

function keepMap(image, found, method, top, layer, by = "") {
  image.cams.push({ ...found, method, class: top?.index, label: method === "eigencam" ? "" : top.label, number: image.boxes && top ? top.index : null,
    layer, by, backend: found.attached ? "file" : "browser", box: image.box, found: null });
}

// D-RISE, round by round: the map of the chosen box gets better with each, until it is left or all masks were laid over.
async function explainBoxes(i) {
  const image = images[i], wanted = () => images[i] === image && state.method === "drise" && state.view !== "classes" && image.top.length;
  if (image.covering) return;
  if (camera.stream && i === live.camera) return; // it takes many runs on one picture
  image.covering = true;
  try {
    for (let ended = false; !ended && wanted();) {
      const { done, total } = await ask("masks", { slot: i, ms: ROUND });
      if (!wanted()) break;
      const top = image.top[guess[i]], found = await ask("map", { slot: i, method: "drise", index: top.index });
      if (!wanted()) break;
      image.cams = image.cams.filter((cam) => cam.method !== "drise");
      keepMap(image, found, "drise", top, "", ` from ${done} masks`);
      await drawPicture(i);
      ended = done >= total && guess[i] === top.index;
      say(ended ? `Ready. ${image.name}: ${image.told}.` : `${image.name} under ${done} of ${total} masks …`, ended ? null : done / total);
    }
    if (!wanted() && live.ready) say("Ready.");
  } catch (error) { say(`${error.message}.`, null, true); }
  finally { image.covering = false; }
}

const colorOf = (colors, index) => colors[index] ?? [128, 128, 128];
const labelOf = (index) => data.live.labels[index] ?? `class ${index}`;

// The most likely classes, as `inspector predict` lists them.
function rank(found, count) {
  if (!found.scores) return [];
  const order = Array.from(found.scores.keys()).sort((a, b) => found.scores[b] - found.scores[a] || a - b).slice(0, count);
  return order.map((index) => classEntry(found, index));
}

const classEntry = (found, index) => ({ index, label: labelOf(index), probability: found.probabilities[index], score: found.scores[index] });

// What the channels of the maps' layer add to the likeliest classes: asked for when that layer is looked at.
async function addRelevance(i) {
  const image = images[i], cam = data.live.cam;
  if (!cam?.closed || !data.live.classifier || state.layer !== cam.layer || image.relevance || image.asked || camera.stream) return;
  image.asked = true;
  try {
    const values = await ask("relevance", { slot: i, indices: image.top.map((top) => top.index) });
    image.relevance = { layer: layers[cam.layer].name, values };
    if (images[i] === image && state.image === i) { grid.list = []; await go({ image: i }); } // drawn anew, in case it is what the channels are sorted by
  } catch (error) { say(`${error.message}.`, null, true); }
}

// --- a picture comes in -----------------------------------------------------------------------------------------------
// A slot for the next picture, which is its own until it is released: neither the camera's nor that of another one on its way.
function reserveSlot() {
  const free = (slot) => slot !== live.camera && !live.reserved.has(slot);
  let slot = Array.from({ length: SLOTS }, (_, n) => n).find((n) => !images[n] && free(n));
  for (let tries = 0; slot === undefined && tries < SLOTS; tries++) {
    const next = live.next++ % SLOTS;
    if (free(next)) slot = next;
  }
  if (slot === undefined) throw new Error("too many pictures came at once, give it again");
  live.reserved.add(slot);
  return slot;
}

// Shows what the network says of a picture at once, and measures its layers after that.
async function addPicture(name, file) {
  let slot;
  say(`Looking at ${name} …`, null);
  try {
    slot = reserveSlot();
    await takeIn(slot, name, await ask("picture", { slot, file }, [file.buffer]));
    await measure(slot, layers.map((_, l) => l));
    await settle(slot);
    say(`Ready. ${name}: ${images[slot].told}.`);
  } catch (error) { say(`${name}: ${error.message}.`, null, true); }
  finally { live.reserved.delete(slot); }
}

// The classes of a picture and how likely they are, into the rows that are there for them.
function showGuesses(i) {
  const rows = $(`figure-${i}`).querySelectorAll(".guess");
  images[i].top.forEach(({ label, probability }, n) => {
    rows[n].querySelector(".name").textContent = label;
    rows[n].querySelector(".p").textContent = percent(probability);
    rows[n].querySelector("i").style.width = 100 * Math.max(0, Math.min(1, probability || 0)) + "%";
  });
}

async function takeIn(slot, name, found) {
  const before = images[slot], photo = before && photos[slot].width === found.shown.width && photos[slot].height === found.shown.height ? photos[slot]
    : element("canvas", { width: found.shown.width, height: found.shown.height });
  photo.getContext("2d").drawImage(found.shown, 0, 0);
  found.shown.close();
  photo.decode = async () => {};
  const pinned = before?.name === name ? before.pinned : null;
  const boxes = found.boxes && found.boxes.map((one) => ({ ...one, label: labelOf(one.index), color: colorOf(data.live.boxes.colors, one.index) }));
  const segments = found.segments && { classes: found.segments.classes.map((one) => ({ ...one, label: labelOf(one.index), color: colorOf(data.live.segments.colors, one.index) })) };
  if (segments) masks[slot] = { ...found.segments, data: Uint8Array.from({ length: 4 * found.segments.mask.length }, (_, n) => found.segments.mask[n >> 2]) };
  const top = segments ? segments.classes.slice(0, data.top).map(({ index, label, share }) => ({ index, label, probability: share })) : boxes ? boxes.slice(0, LISTED).map(({ label, score }, n) => ({ index: n, label, probability: score })) : rank(found, data.top);
  if (pinned != null) top.push(classEntry(found, pinned));
  images[slot] = { name, size: found.size, box: found.box, found, boxes, segments, top, pinned, cams: [], failed: new Set(), relevance: null, layers: before?.name === name ? before.layers : [],
    told: `${found.size.join(" × ")} pixels, answered in ${Math.round(found.ms)} ms` };
  photos[slot] = photo;
  if (before?.name !== name) { channelTables[slot] = []; live.sheets[slot] = []; guess[slot] = 0; }
  guess[slot] = Math.min(guess[slot], Math.max(0, top.length - 1));
  if (before?.name === name && before.top.length === top.length && !boxes && !segments) showGuesses(slot);
  else { buildPicture(slot); addClassChoice(slot); }
  if (found.made) showMade();
  if (found.unknown) showUnknown(slot);
  await drawPicture(slot);
}

// How little the picture looks like those that the network knows, as the file says it.
function showUnknown(slot) {
  const { value, threshold, alarm } = images[slot].found.unknown, old = $(`unknown-${slot}`);
  const words = `unknown ${value.toFixed(2)}, ${alarm ? "above" : "below"} the threshold ${threshold.toFixed(2)}`;
  const line = element("p", { id: `unknown-${slot}`, class: "hint" }, alarm ? `Not like what the network knows: ${words}` : `As the file says: ${words}`);
  if (old) old.replaceWith(line); else $(`figure-${slot}`).lastElementChild.before(line);
}

// What a network makes of each picture, beside it: a picture, or how near its vector is to those of the others.
function showMade() {
  images.forEach((image, i) => {
    const { made } = image.found, box = element("div", { id: `made-${i}`, class: "made" }), old = $(`made-${i}`);
    if (made.vector) {
      const near = images.flatMap((other, j) => j === i ? [] : [{ label: other.name, cosine: cosineOf(made.vector, other.found.made.vector) }]).sort((a, b) => b.cosine - a.cosine);
      box.append(element("p", { class: "hint" }, `A vector of ${made.vector.length} numbers. ${near.length ? "Its cosine to that of" : "Give more pictures, and they are compared."}`),
        ...near.map(({ label, cosine }) => element("p", {}, element("span", { class: "name" }, label), " ", element("span", { class: "p" }, cosine.toFixed(3)))));
    } else {
      const canvas = element("canvas", { width: made.width, height: made.height, role: "img", "aria-label": `What the network makes of ${image.name}` });
      canvas.getContext("2d").putImageData(new ImageData(made.pixels, made.width, made.height), 0, 0);
      box.append(element("p", { class: "hint" }, `What it makes of it, ${made.width} × ${made.height}; ${number(made.low)} is black, ${number(made.high)} white`), canvas);
    }
    if (old) old.replaceWith(box); else $(`figure-${i}`).lastElementChild.before(box);
  });
}

function cosineOf(a, b) {
  const dot = (x, y) => x.reduce((sum, v, n) => sum + v * y[n], 0), length = Math.sqrt(dot(a, a) * dot(b, b));
  return length ? dot(a, b) / length : 0;
}

async function measure(slot, which) {
  const image = images[slot], found = await ask("layers", { slot, which });
  if (images[slot] !== image) return;
  for (const { layer, entry, table, sheet } of found) {
    const constant = new Set(entry.blank), single = entry.tile[0] * entry.tile[1] === 1;
    image.layers[layer] = entry;
    live.sheets[slot][layer] = sheet;
    channelTables[slot][layer] = { count: entry.shape[0], min: table.min, max: table.max, single, span: (c) => table.max[c] - table.min[c],
      mean: (c) => table.mean[c], std: (c) => table.std[c], zero: (c) => table.zero[c], blank: (c) => constant.has(c) };
  }
}

// Lets the panes show a picture whose layers have been measured.
async function settle(slot) {
  const first = !live.ready;
  live.ready = true;
  $("panes-box").hidden = $("experiments").hidden = false;
  fill($("image"), images.flatMap((image, i) => channelTables[i].length ? [[i, image.name]] : []));
  $("image-label").hidden = $("image").options.length < 2;
  go.drawn = false; grid.list = [];
  const start = first ? { layer: Math.max(0, layers.findIndex((layer) => layer.kind === "activation")), ...fromAddress() } : {};
  await go({ ...start, image: slot }, first);
}

// Any class can be asked for, not only the likeliest.
function addClassChoice(slot) {
  if (!data.live.classifier) return;
  const box = element("input", { list: "labels", placeholder: "name or number", "aria-label": `Another class for ${images[slot].name}`, size: 16 });
  box.addEventListener("change", () => {
    const text = box.value.trim().toLowerCase(), image = images[slot];
    const index = /^\d+$/.test(text) ? Number(text) : data.live.labels.findIndex((label) => label.toLowerCase() === text);
    if (!text || index < 0 || index >= data.live.classifier.classes) { say(text ? `There is no class “${box.value}”.` : "", null, Boolean(text)); return; }
    let n = image.top.findIndex((top) => top.index === index);
    if (n < 0) {
      image.top = rank(image.found, data.top).concat(classEntry(image.found, index));
      image.pinned = index;
      n = image.top.length - 1;
      image.relevance = null; image.asked = false;
      buildPicture(slot); addClassChoice(slot);
    }
    guess[slot] = n;
    $(`guess-${slot}-${n}`).checked = true;
    drawPicture(slot);
  });
  $(`figure-${slot}`).querySelector("fieldset").append(element("label", { class: "another" }, "Another class ", box));
}

// --- ways to give a picture -------------------------------------------------------------------------------------------
async function addFiles(files) {
  for (const file of files) await addPicture(file.name || "picture", new Uint8Array(await file.arrayBuffer()));
}

function listenForPictures() {
  $("choose").addEventListener("change", async () => { const files = [...$("choose").files]; $("choose").value = ""; await addFiles(files); });
  const over = (event, on) => { event.preventDefault(); $("drop").classList.toggle("over", on); };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(event, false); });
  document.addEventListener("drop", (event) => { over(event, false); addFiles([...event.dataTransfer.files]); });
  document.addEventListener("paste", (event) => addFiles([...event.clipboardData.files]));
}

async function start() {
  fill($("colormap"), Object.keys(tables).map((name) => [name, name]));
  if (data.live.segments || data.live.boxes) state.view = "classes";
  if (data.live.boxes) $("view").options[1].textContent = "objects";
  showMethods();
  bar($("cam-bar"), tables[state.colormap]);
  buildLayers();
  listen();
  if (data.live.labels.length) $("labels").append(...data.live.labels.map((label) => element("option", { value: label })));
  const obstacle = findObstacle();
  if (obstacle) { say(obstacle, null, true); return; }
  $("view").addEventListener("change", () => go({ view: $("view").value }));
  listenForPictures();
  listenForCamera();
  experiments.listen();
  try {
    const { ms } = await startWorker();
    $("status").dataset.ready = Math.round(ms);
    say(`Ready after ${(ms / 1000).toFixed(1)} s. Drop a picture anywhere on this page.`);
  } catch (error) { say(error.message.includes("file is damaged") ? `T${error.message.slice(1)}.` : `The network cannot be started: ${error.message}.`, null, true); return; }
  for (const name of ["choose", "camera"]) $(name).disabled = false;
  for (const [n, { name }] of data.given.entries()) await addPicture(name, bytes($(`given-${n}`).textContent.trim()));
}

window.inspector = { ask, images, layers, state }; // for the console, and for tests: inspector.ask("tensor", { slot: 0 })
document.addEventListener("DOMContentLoaded", start);
