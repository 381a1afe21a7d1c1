// The worker: everything that takes time happens here, so that the page never freezes. A message is { id, kind, ... },
// the answer { id, value } or { id, error }; what is being done comes in between as { told, share }.
const tell = (told, share = null) => postMessage({ told, share });
let network, about, levels;
const pictures = new Map(); // slot -> what is known of its picture

async function unpack(name, { text, sha256, bytes }) {
  const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  let data;
  try { data = new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer()); }
  catch { throw new Error(`this file is damaged: ${name} cannot be unpacked; copy or download it again`); }
  // Browsers compute digests only where a page is trusted, as one from disk is; gzip's own checksum was right in any case.
  const digest = self.crypto?.subtle ? [...new Uint8Array(await crypto.subtle.digest("SHA-256", data))].map((b) => b.toString(16).padStart(2, "0")).join("") : sha256;
  if (data.length !== bytes || digest !== sha256) throw new Error(`this file is damaged: the digest of ${name} is not the one on record; copy or download it again`);
  return data;
}

const tasks = {
  async start({ parts, document }) {
    const began = performance.now();
    about = document; levels = document.levels;
    tell("Unpacking the network and what runs it", 0.1);
    const [script, wasm, structure, weights] = await Promise.all([unpack("onnxruntime's script", parts["ort.mjs"]), unpack("onnxruntime's WebAssembly", parts["ort.wasm"]),
      unpack("the network's structure", parts.structure), unpack("the network's weights", parts.weights)]);
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const ort = await import(address);
    URL.revokeObjectURL(address);
    Object.assign(ort.env.wasm, { wasmBinary: wasm.buffer, numThreads: 1, proxy: false });
    ort.env.logLevel = "fatal";
    about.network.head = Uint8Array.from(atob(about.network.head), (c) => c.charCodeAt(0));
    network = new Network(ort, about.network, structure, weights);
    tell("Starting the network", 0.6);
    await network.run("all", about.outputs, { [about.input.name]: blankInput() }, about.quick); // the first run is slow
    return { ms: performance.now() - began };
  },

  // A new picture, from a file's bytes or a frame of the camera: its scores and what the maps need.
  async picture({ slot, file, frame }) {
    const picture = file ? await decode(file) : readPixels(frame), began = performance.now();
    const view = viewOf(about.preprocess, picture);
    const known = { view };
    pictures.set(slot, known);
    const shown = await show(picture, 480);
    const size = [picture.width, picture.height], box = boxOf(view.place, size), { boxes, values, ...found } = await answer(slot), sides = [shown.width, shown.height];
    const objects = boxes && boxesInPicture(boxes, [view.width, view.height], box, size);
    Object.assign(known, { size, box, objects, sides, answers: Object.fromEntries(about.answers.map((name) => [name, values[name]])) });
    if (known.areas) { known.best = findAreas(known.scored, known.areas, box, size); known.target = readScores(known.scored, known.areas, known.best)[0]; }
    if (boxes && about.boxes.layout.masks) masksInPicture(objects, values, about.boxes.layout, box, size, sides).forEach((mask, n) => { objects[n].mask = mask; });
    return { size, view: { width: view.width, height: view.height }, box, shown, ...found, ms: performance.now() - began, boxes: objects, made: about.made && readMade(values[about.made.tensor], about.made, about.input.batch),
      segments: about.segments && findSegments(values[about.segments.tensor], about.segments, box, size, sides) };
  },

  // The class activation map of a class (an index; of none for methods that know no class).
  async map({ slot, method, index }) {
    const known = pictures.get(slot), own = about.attached?.maps.find((one) => one.method === method), given = own && await attachedMap(about, network, known, own, index);
    if (given) return given;
    if (method === "drise") { const shape = sampleOf(known.covers.size), raw = weighMasks(known.covers, index, shape); return { shape, raw: Array.from(raw), ...scaleMap(raw) }; }
    const layer = about.layers[about.cam.layer];
    const { values, shape } = toMaps(layer, known.cam), [h, w] = sidesOf(shape);
    let raw;
    if (method === "eigencam") raw = eigencam(values, shape[0], h * w);
    else if (method === "ablationcam") {
      // What a channel adds alone is what is lost without it, where the scores are affine.
      if (about.cam.closed) known.channels ??= await channelScores(behind(known), known.cam);
      else known.without ??= await scoresWithout(behind(known), known.cam);
      const whole = known.target[index], drops = about.cam.closed ? known.channels.kept.map((scores) => scores[index] - known.channels.nothing[index])
        : known.without.kept.map((scores) => whole - scores[index]);
      raw = ablationcam(values, drops, whole);
    } else {
      if (h * w > 4 * about.cam.places) throw new Error(`this layer has ${h} × ${w} places on a picture of this size, too many for ${method}; choose another method`);
      known.places ??= await placeScores(behind(known), known.cam);
      raw = known.places.kept.map((scores) => scores[index] - known.places.nothing[index]);
    }
    return { shape: [h, w], raw: Array.from(raw), ...scaleMap(raw) };
  },

  // What each channel of the layer of the maps adds to classes (indices): the score with that channel alone, less the
  // score of nothing, which is exact where the scores are affine there.
  async relevance({ slot, indices }) {
    const known = pictures.get(slot);
    known.channels ??= await channelScores(behind(known), known.cam);
    return indices.map((index) => Float32Array.from(known.channels.kept, (scores) => scores[index] - known.channels.nothing[index]));
  },

  // Numbers and sheets of layers (indices).
  async layers({ slot, which }) {
    const out = [], feeds = { [about.input.name]: pictures.get(slot).tensor };
    let group = [], size = 0;
    const flush = async () => {
      if (!group.length) return;
      const names = [...new Set(group.map((l) => about.layers[l].tensor))], values = await network.run("all", about.outputs, feeds, names);
      for (const l of group) out.push({ layer: l, ...summarise(about.layers[l], toMaps(about.layers[l], values[about.layers[l].tensor]), levels, (channels) => channels <= 64 ? about.sides[0] : about.sides[1]) });
      tell("Measuring the layers", out.length / which.length);
      group = []; size = 0;
    };
    for (const l of which) { // what one run gives back stays below 256 MB
      const elements = about.layers[l].elements;
      if (size + elements > 2 ** 26) await flush();
      group.push(l); size += elements;
    }
    await flush();
    return out;
  },

  // D-RISE: what is found under one mask after the other, as many as fit into `ms`; see `map`.
  async masks({ slot, ms, total = about.covers.count }) {
    const known = pictures.get(slot), { view } = known, began = performance.now(), end = Math.min(total, about.covers.count);
    known.covers ??= openCovers(about.covers, [view.height, view.width]);
    const { covers } = known, near = { ...about.boxes, layout: { ...about.boxes.layout, points: null, masks: null }, confidence: about.covers.least };
    known.values ??= numbersOf(known.tensor).slice(0, known.tensor.data.length / known.tensor.dims[0]);
    while (covers.found.length < end) {
      const tensor = coverInput(known.values, maskOf(covers, covers.found.length, covers.rows, covers.columns), known.tensor.dims);
      const found = await network.run("all", about.outputs, { [about.input.name]: tensor }, about.boxes.outputs);
      covers.found.push(likenessOf(known.objects, boxesInPicture(findBoxes(found, near, covers.size), [view.width, view.height], known.box, known.size)));
      if (performance.now() - began > ms) break;
    }
    return { done: covers.found.length, total: end };
  },

  // What the network answers with parts of what it sees covered: mask holds 1 where it is, for the view's pixels.
  async cover({ slot, mask, color }) {
    const { view } = pictures.get(slot), data = view.data.slice(), pixels = new Uint32Array(data.buffer);
    const paint = new Uint32Array(new Uint8Array([...color, 255]).buffer)[0];
    for (let n = 0; n < mask.length; n++) if (mask[n]) pixels[n] = paint;
    const began = performance.now(), tensor = inputFrom({ ...view, data });
    const found = await network.run("all", about.outputs, { [about.input.name]: tensor }, about.answers);
    return { ...answerOf(found, pictures.get(slot)), ms: performance.now() - began };
  },

  // The same with channels of a layer set to zero: the network is cut there, and only the rest of it is run.
  async off({ slot, layer: l, channels }) {
    const known = pictures.get(slot), layer = about.layers[l], began = performance.now();
    if (known.cut?.layer !== l) {
      const beside = about.cuts[l].beside.filter((name) => name !== about.input.name);
      const values = await network.run("all", about.outputs, { [about.input.name]: known.tensor }, [layer.tensor, ...beside]);
      known.cut = { layer: l, own: values[layer.tensor], beside: Object.fromEntries(beside.map((name) => [name, values[name]])) };
    }
    const { own, beside } = known.cut, dims = own.dims, axis = layer.channel === "last" && dims.length >= 3 ? dims.length - 1 : layer.channel === "last" ? 1 : layer.channel;
    const data = own.data.slice(), after = dims.slice(axis + 1).reduce((a, b) => a * b, 1), count = dims[axis], before = data.length / after / count;
    for (const c of channels) for (let b = 0; b < before; b++) data.fill(0, (b * count + c) * after, (b * count + c + 1) * after);
    const feeds = { ...beside, [about.input.name]: known.tensor, [layer.tensor]: new network.ort.Tensor(own.type, data, dims) };
    const found = await network.run("rest", about.cuts[l].outputs, feeds); // other outputs stay as they are
    return { ...answerOf({ ...known.answers, ...found }, known), ms: performance.now() - began };
  },

  // What the tests compare with our own code: the input tensor, and all scores.
  async tensor({ slot }) { return { values: numbersOf(pictures.get(slot).tensor), dims: pictures.get(slot).tensor.dims, scores: pictures.get(slot).scores }; },

  async forget({ slot }) { pictures.delete(slot); return null; },
};

function blankInput() {
  const [height, width] = about.size;
  return inputFrom({ data: new Uint8ClampedArray(4 * width * height), width, height });
}

function inputFrom(view) {
  const p = about.preprocess, values = tensorOf(p, view), channels = p.mean.length;
  const dims = p.layout === "NHWC" ? [1, view.height, view.width, channels] : [1, channels, view.height, view.width];
  return repeat(network.ort, tensorFrom(network.ort, p.dtype, values, dims), about.input.batch);
}

// The network's input under a mask over its pixels.
function coverInput(values, mask, dims) {
  const p = about.preprocess, channels = p.mean.length, last = p.layout === "NHWC", whole = p.dtype === "uint8";
  const covered = values.map((v, n) => v * mask[last ? Math.floor(n / channels) : n % mask.length]);
  return repeat(network.ort, tensorFrom(network.ort, p.dtype, whole ? Uint8Array.from(covered, roundEven) : covered, [1, ...dims.slice(1)]), about.input.batch);
}

// The part of the network behind the layer of the maps, to be run on further values of that layer: see `partScores`.
function behind(known) {
  const { target, layer } = about.cam, { tensor } = about.layers[layer];
  const run = async (block, dims) => {
    const feeds = { [tensor]: toStored(network.ort, known.stored, block, dims, about.cam.stored) };
    for (const [name, value] of Object.entries(known.beside)) feeds[name] = repeat(network.ort, value, dims[0]);
    return readScores((await network.run("head", [target.tensor], feeds))[target.tensor], target.areas, known.best, dims[0]);
  };
  return Object.assign(run, { fixed: about.input.batch > 1, size: known.scored.data.length });
}

async function answer(slot) {
  const known = pictures.get(slot);
  known.tensor = inputFrom(known.view);
  const found = await network.run("all", about.outputs, { [about.input.name]: known.tensor }, about.quick);
  if (about.cam) {
    const own = found[about.layers[about.cam.layer].tensor];
    known.stored = own.type;
    known.cam = toReal(network.ort, own, about.cam.stored);
    known.beside = Object.fromEntries(about.cam.beside.map((name) => [name, name === about.input.name ? known.tensor : found[name]]));
  }
  if (about.cam?.target) Object.assign(known, { scored: found[about.cam.target.tensor], areas: about.cam.target.areas });
  if (about.cam?.target && !known.areas) [known.target] = readScores(known.scored, null);
  const scores = about.classifier ? ranked(found) : { scores: null, probabilities: null };
  known.scores = scores.scores;
  return { ...scores, ...keepAttached(about, known, found), boxes: about.boxes && findBoxes(found, about.boxes, [known.view.height, known.view.width]), values: found };
}

// What a run with something taken away says, held against what was said before: of objects the score of the best one of
// the same class at the same place, 0 where there is none, and how many are new.
function answerOf(found, known) {
  if (about.classifier) return ranked(found);
  if (about.segments) return { segments: findSegments(found[about.segments.tensor], about.segments, known.box, known.size, known.sides).classes };
  const plain = { ...about.boxes, layout: { ...about.boxes.layout, points: null, masks: null } }, { view } = known;
  const objects = boxesInPicture(findBoxes(found, plain, [view.height, view.width]), [view.width, view.height], known.box, known.size);
  const same = (one, other) => one.index === other.index && overlap(one.box, other.box) >= 0.5;
  return { objects: known.objects.map((one) => objects.reduce((best, other) => same(one, other) ? Math.max(best, other.score) : best, 0)),
    fresh: objects.filter((other) => !known.objects.some((one) => same(one, other))).length };
}

function ranked(found) {
  const scores = numbersOf(found[about.classifier.scores]).slice(0, about.classifier.classes);
  const own = about.attached?.probability ?? about.classifier.probabilities; // by the file itself, calibrated or not
  return { scores, probabilities: own && found[own] ? Float64Array.from(numbersOf(found[own]).slice(0, scores.length)) : toProbabilities(scores, about.classifier) };
}

// The picture as the page shows it: at most `side` pixels a side.
async function show({ data, width, height }, side) {
  const k = Math.min(1, side / Math.max(width, height)), to = [Math.max(1, Math.round(width * k)), Math.max(1, Math.round(height * k))];
  const small = resize({ data, width, height }, to, "box");
  return createImageBitmap(new ImageData(small.data, small.width, small.height));
}

// A tensor beyond the 4 GB of WebAssembly is an overflow to the runtime, or one of "more than" so many bytes.
const isOutOfMemory = (error) => error instanceof RangeError || /memory|allocat|bad_alloc|OOM|SafeInt|Integer overflow|would require more than/i.test(String(error?.message ?? error));

function explain(error) {
  const text = String(error?.message ?? error);
  if (isOutOfMemory(error)) return `the browser has no memory left for this (${text.match(/ERROR_MESSAGE: (.*)/s)?.[1].slice(-120) ?? text.slice(0, 120)}); give it a smaller picture, close other pages, or make the page with --int8`;
  return text;
}

let queue = Promise.resolve(); // one thing after the other: the network has one thread
onmessage = ({ data }) => {
  queue = queue.then(async () => {
    try {
      const value = await tasks[data.kind](data), shared = [];
      if (value?.shown) shared.push(value.shown);
      if (data.kind === "layers") for (const one of value) shared.push(one.sheet.levels.buffer);
      postMessage({ id: data.id, value }, shared);
    } catch (error) {
      if (isOutOfMemory(error)) await network?.empty(); // what was held for this is free for what comes next
      postMessage({ id: data.id, error: explain(error) });
    }
  });
};
