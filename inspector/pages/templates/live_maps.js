// Scores, probabilities, and class activation maps without gradients.

// Scores -> probabilities as the model means them; what is guessed to be scores may turn out to be probabilities.
function toProbabilities(scores, about) {
  let how = about.activation;
  const values = Float64Array.from(scores);
  if (about.guessed && values.length > 1 && values.every((v) => v >= 0 && v <= 1) && Math.abs(values.reduce((a, b) => a + b, 0) - 1) < 1e-3) how = "none";
  if (how === "sigmoid") return values.map((v) => 0.5 * (1 + Math.tanh(0.5 * v)));
  if (how !== "softmax") return values;
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity), powers = values.map((v) => Math.exp(v - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((v) => v / sum);
}

// { map, empty }: no evidence is 0 and the most evidence 1, as in inspector/cam/result.py.
function scaleMap(raw) {
  let high = -Infinity, reach = 0;
  for (const v of raw) { high = Math.max(high, v); reach = Math.max(reach, Math.abs(v)); }
  const noise = 4 * 2 ** -23;
  if (!Number.isFinite(reach) || !(high > Math.max(noise * reach, 0))) return { map: new Array(raw.length).fill(0), empty: true };
  return { map: Array.from(raw, (v) => Math.max(v, 0) / high), empty: false };
}

// Eigen-CAM: all places projected on their first principal direction; it knows no class.
function eigencam(values, channels, places) {
  const rows = Float64Array.from(values), mean = new Float64Array(channels), overall = new Float64Array(places);
  for (let c = 0; c < channels; c++) {
    for (let n = 0; n < places; n++) mean[c] += rows[c * places + n] / places;
    for (let n = 0; n < places; n++) rows[c * places + n] -= mean[c];
    for (let n = 0; n < places; n++) overall[n] += rows[c * places + n] / channels;
  }
  // The smaller of the two Gram matrices, of channels or of places, tells the direction.
  const few = Math.min(channels, places), ofChannels = channels < places, [line, step] = ofChannels ? [places, 1] : [1, places];
  const gram = new Float64Array(few * few);
  for (let a = 0; a < few; a++)
    for (let b = a; b < few; b++) {
      let sum = 0;
      for (let n = 0, at = a * line, other = b * line; n < Math.max(channels, places); n++, at += step, other += step) sum += rows[at] * rows[other];
      gram[a * few + b] = gram[b * few + a] = sum;
    }
  const { vector, value } = findFirstDirection(gram, few);
  if (!(value > 0)) return new Float64Array(places);
  const out = ofChannels ? new Float64Array(places) : vector.map((v) => v * Math.sqrt(value));
  if (ofChannels) for (let c = 0; c < channels; c++) for (let n = 0; n < places; n++) out[n] += vector[c] * rows[c * places + n];
  let longest = 0; // of what is projected: all places alike, but for rounding, are no map
  for (let n = 0; n < places; n++) {
    let square = 0;
    for (let c = 0; c < channels; c++) square += values[c * places + n] ** 2;
    longest = Math.max(longest, Math.sqrt(square));
  }
  if (out.every((v) => Math.abs(v) <= 1e-7 * longest)) return new Float64Array(places);
  const agreement = out.reduce((sum, v, n) => sum + v * overall[n], 0), largest = out.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const limit = 1e-9 * largest * overall.reduce((sum, v) => sum + Math.abs(v), 0);
  const most = out.reduce((m, v) => Math.max(m, v), -Infinity), least = out.reduce((m, v) => Math.min(m, v), Infinity);
  const flip = agreement < -limit || (agreement <= limit && most < -least);
  return flip ? out.map((v) => -v) : out;
}

// The eigenvector of the largest eigenvalue, by powers of the matrix.
function findFirstDirection(matrix, size) {
  let vector = Float64Array.from({ length: size }, (_, n) => 1 + Math.sin(n + 1)), value = 0;
  for (let turn = 0; turn < 3000; turn++) {
    const next = new Float64Array(size);
    for (let a = 0; a < size; a++) for (let b = 0; b < size; b++) next[a] += matrix[a * size + b] * vector[b];
    value = Math.sqrt(next.reduce((sum, v) => sum + v * v, 0));
    if (!(value > 0)) break;
    let moved = 0;
    for (let n = 0; n < size; n++) { next[n] /= value; moved = Math.max(moved, Math.abs(next[n] - vector[n])); }
    vector = next;
    if (moved < 1e-12) break;
  }
  return { vector, value };
}

// A layer that a quantised file holds as integers: the numbers that they stand for, and back (inspector/cam/quantized.py).
const WHOLE = { int8: [Int8Array, -128, 127], uint8: [Uint8Array, 0, 255] };

function toReal(ort, tensor, { scale, zero }) {
  return WHOLE[tensor.type] ? new ort.Tensor("float32", numbersOf(tensor).map((v) => (v - zero) * scale), tensor.dims) : tensor;
}

function toStored(ort, type, values, dims, { scale, zero }) {
  if (!WHOLE[type]) return tensorFrom(ort, type, values, dims);
  const [Kind, low, high] = WHOLE[type];
  return new ort.Tensor(type, Kind.from(values, (v) => Math.max(low, Math.min(high, roundEven(Math.fround(v / scale)) + zero))), dims);
}

// The scores of classes that a run gives for each picture of a batch. Those of a segmenter are summed up over the area of
// each class, `best` (the class of each place, -1 beyond the picture), as in inspector/cam/areas.py.
function readScores(tensor, areas, best, count = 1) {
  const values = numbersOf(tensor), size = values.length / count, rest = tensor.dims.slice(1);
  if (count > 1 && tensor.dims[0] !== count) throw new Error("a fixed batch");
  const rows = Array.from({ length: count }, (_, n) => values.subarray(n * size, (n + 1) * size));
  if (!areas) return rows;
  const classes = areas.last ? rest.at(-1) : rest[0], places = size / classes;
  return rows.map((row) => {
    const out = new Float64Array(Math.max(classes, 2));
    for (let n = 0; n < places; n++) if (best[n] >= 0) out[best[n]] += classes === 1 ? (best[n] ? 1 : -1) * row[n] : row[areas.last ? n * classes + best[n] : best[n] * places + n];
    return out;
  });
}

// The likeliest class of each place of a segmenter's scores; -1 where the picture does not reach.
function findAreas(tensor, areas, [x0, y0, x1, y1], [wide, high]) {
  const values = numbersOf(tensor), [classes, h, w] = areas.last ? [tensor.dims[3], tensor.dims[1], tensor.dims[2]] : tensor.dims.slice(1), places = h * w;
  return Int16Array.from({ length: places }, (_, n) => {
    const x = x0 + (n % w + 0.5) / w * (x1 - x0), y = y0 + (Math.floor(n / w) + 0.5) / h * (y1 - y0);
    if (x < 0 || y < 0 || x >= wide || y >= high) return -1;
    if (classes === 1) return values[n] > areas.middle ? 1 : 0;
    let best = 0, most = -Infinity;
    for (let k = 0; k < classes; k++) { const v = values[areas.last ? n * classes + k : k * places + n]; if (v > most) { most = v; best = k; } }
    return best;
  });
}

// What every place adds to every score: the part of the network behind the layer, run with one place kept at a time.
// Where that part is affine this is the closed form, sum over channels of gradient times activation; else Recipro-CAM.
function placeScores(run, tensor) {
  const places = tensor.dims.slice(2).reduce((a, b) => a * b, 1), channels = tensor.dims[1];
  return partScores(run, tensor, places, (block, from, values, n) => {
    if (n >= 0) for (let c = 0, at = n; c < channels; c++, at += places) block[from + at] = values[at];
  });
}

// The scores with each channel alone.
function channelScores(run, tensor) {
  const places = tensor.dims.slice(2).reduce((a, b) => a * b, 1);
  return partScores(run, tensor, tensor.dims[1], (block, from, values, c) => { if (c >= 0) block.set(values.subarray(c * places, (c + 1) * places), from + c * places); });
}

// The scores without each channel: Ablation-CAM.
function scoresWithout(run, tensor) {
  const places = tensor.dims.slice(2).reduce((a, b) => a * b, 1);
  return partScores(run, tensor, tensor.dims[1], (block, from, values, c) => {
    block.set(values, from);
    if (c >= 0) block.fill(0, from + c * places, from + (c + 1) * places);
  });
}

// Ablation-CAM = sum_c w_c A_c, w_c = (Y - Y_c) / |Y|, of the drops Y - Y_c of one score Y.
function ablationcam(values, drops, score) {
  const places = values.length / drops.length, out = new Float64Array(places), unit = Math.abs(score) || 1;
  drops.forEach((drop, c) => { for (let n = 0; n < places; n++) out[n] += Math.fround(drop / unit) * values[c * places + n]; });
  return out;
}

// The scores of `parts` changes of a layer's values, which `change` writes into a block of zeros, and of change -1.
// run(values, dims): the scores of each picture of a batch.
async function partScores(run, tensor, parts, change) {
  const dims = [...tensor.dims], values = numbersOf(tensor), size = values.length, out = [], began = performance.now();
  let batch = run.fixed ? 1 : Math.max(1, Math.min(64, Math.floor(2 ** 23 / Math.max(size, run.size))));
  for (let start = -1; start < parts;) {
    const count = Math.min(batch, parts - start), block = new Float32Array(count * size);
    for (let n = 0; n < count; n++) change(block, n * size, values, start + n);
    let scores;
    try {
      scores = await run(block, [count, ...dims.slice(1)]);
    } catch (error) {
      if (count === 1) throw error;
      batch = 1; continue; // a size is written into the graph: one by one
    }
    out.push(...scores);
    start += count;
    if (performance.now() - began > 300) tell("Making the map", (start + 1) / (parts + 1));
  }
  return { nothing: out[0], kept: out.slice(1) };
}

function repeat(ort, tensor, count) {
  if (count === 1 || tensor.dims[0] !== 1) return tensor;
  const data = new tensor.data.constructor(tensor.data.length * count);
  for (let n = 0; n < count; n++) data.set(tensor.data, n * tensor.data.length);
  return new ort.Tensor(tensor.type, data, [count, ...tensor.dims.slice(1)]);
}
