// What the file says itself, by outputs that `inspector attach` added: they are computed in the run that is made anyway.
const MOST_CELLS = 160; // of a side of a map

// What of a run is kept for the maps that are asked for later.
function keepAttached(about, known, found) {
  const own = about.attached;
  if (!own) return {};
  known.given = Object.fromEntries(own.maps.filter((one) => found[one.best]).map((one) => [one.best, found[one.best]]));
  if (!own.unknown) return {};
  const value = numbersOf(found[own.unknown.tensor])[0], { threshold } = own.unknown;
  return { unknown: { value, threshold, alarm: value > threshold } };
}

// The map of the file for a class or a box; null where the page makes it.
async function attachedMap(about, network, known, own, index) {
  const boxes = Boolean(about.boxes), best = boxes ? index === 0 : index === likeliest(known.scores), feeds = { [about.input.name]: known.tensor };
  let tensor, offset = 0;
  if (best) tensor = known.given[own.best] ?? (await network.run("attached", [own.best], feeds))[own.best]; // a gradient takes a run of its own
  else if (own.every) tensor = (await network.run("all", about.outputs, feeds, [own.every]))[own.every];
  else if (own.rest) return null;
  else throw new Error(`the file has ${own.method} of the ${boxes ? "best box" : "likeliest class"} alone; choose another method`);
  if (own.method === "saliency") return { ...sizesOf(numbersOf(tensor), tensor.dims, about.preprocess.layout === "NHWC"), attached: own.best, layer: "" };
  const [h, w] = tensor.dims.slice(-2), name = best ? own.best : own.every;
  if (!best) offset = index * h * w;
  return { ...shrink(numbersOf(tensor).slice(offset, offset + h * w), h, w, false), attached: name, layer: own.layer };
}

const likeliest = (scores) => scores ? scores.reduce((best, score, n) => score > scores[best] ? n : best, 0) : -1;

// How much each pixel moves the score: the largest magnitude of its channels.
function sizesOf(values, dims, last) {
  const [channels, h, w] = last ? [dims[3], dims[1], dims[2]] : dims.slice(1), sizes = new Float32Array(h * w);
  for (let c = 0; c < channels; c++) for (let n = 0; n < h * w; n++) sizes[n] = Math.max(sizes[n], Math.abs(values[last ? n * channels + c : c * h * w + n]));
  return shrink(sizes, h, w, true);
}

// A map as large as the input, in blocks: of means, or of the largest.
function shrink(values, h, w, largest) {
  const block = Math.ceil(Math.max(h, w) / MOST_CELLS), rows = Math.ceil(h / block), columns = Math.ceil(w / block), out = new Float32Array(rows * columns);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const n = Math.floor(y / block) * columns + Math.floor(x / block), v = values[y * w + x];
    out[n] = largest ? Math.max(out[n], v) : out[n] + v / (block * block);
  }
  return { shape: [rows, columns], raw: Array.from(out), ...scaleMap(out) };
}
