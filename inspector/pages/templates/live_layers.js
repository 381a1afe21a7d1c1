// What the activations of a layer amount to, and its channels as a sheet of levels: the same numbers as
// inspector/layers/statistics.py and the same levels as inspector/pages/report/sprites.py.

// { values, shape }: one picture of a layer's tensor, channels first, tokens laid out as maps.
function toMaps(layer, tensor) {
  let values = numbersOf(tensor), dims = [...tensor.dims];
  const rank = dims.length, axis = layer.channel === "last" && rank >= 3 ? rank - 1 : layer.channel === "last" ? 1 : layer.channel;
  if (rank < 2) { dims = [1, dims[0] ?? 1]; }
  let shape = dims.slice(1), total = shape.reduce((a, b) => a * b, 1);
  values = values.subarray(0, total); // the first of the batch
  if (rank >= 3 && axis !== 1) {
    const before = shape.slice(0, axis - 1).reduce((a, b) => a * b, 1), channels = shape[axis - 1], after = shape.slice(axis).reduce((a, b) => a * b, 1);
    const out = new Float32Array(total);
    for (let b = 0, at = 0; b < before; b++) for (let c = 0; c < channels; c++) for (let a = 0; a < after; a++) out[(c * before + b) * after + a] = values[at++];
    values = out; shape = [channels, ...shape.filter((_, n) => n !== axis - 1)];
  }
  const { grid } = layer, length = shape.slice(1).reduce((a, b) => a * b, 1);
  if (grid && shape.length > 1 && length === grid.height * grid.width + grid.extra) {
    const places = grid.height * grid.width, out = new Float32Array(shape[0] * places);
    for (let c = 0, to = 0; c < shape[0]; c++) for (let n = 0; n < places; n++) out[to++] = values[c * length + (grid.order ? grid.order[n] : grid.extra + n)];
    values = out; shape = [shape[0], grid.height, grid.width];
  }
  return { values, shape };
}

// [height, width] of a channel as it is drawn: slices are stacked, a row is one line.
const sidesOf = (shape) => shape.length > 2 ? [shape.slice(1, -1).reduce((a, b) => a * b, 1), shape.at(-1)] : [1, shape[1] ?? 1];

// The entry of a layer, the numbers of its channels, and its sheet with tiles of at most `side`.
function summarise(layer, { values, shape }, levels, sideOf) {
  const channels = shape[0], [height, width] = sidesOf(shape), places = height * width, empty = !values.length;
  const side = sideOf(channels), factor = Math.max(1, Math.ceil(Math.max(height, width) / side));
  const [h, w] = empty ? [1, 1] : [Math.ceil(height / factor), Math.ceil(width / factor)];
  const across = Math.ceil(Math.sqrt(channels)), sheet = new Uint8Array(Math.ceil(channels / across) * h * across * w);
  const table = { min: new Float32Array(channels), max: new Float32Array(channels), mean: new Float32Array(channels), std: new Float32Array(channels), zero: new Float32Array(channels) };
  const all = { low: Infinity, high: -Infinity, sum: 0, square: 0, count: 0, zeros: 0, bad: 0 }, blank = [];
  for (let c = 0; c < channels; c++) {
    let low = Infinity, high = -Infinity, sum = 0, square = 0, zeros = 0, bad = 0;
    for (let n = c * places, end = n + (empty ? 0 : places); n < end; n++) {
      const v = values[n];
      if (v === 0) zeros++;
      if (v - v !== 0) { bad++; continue; } // NaN and the infinities
      if (v < low) low = v;
      if (v > high) high = v;
      sum += v; square += v * v;
    }
    const count = (empty ? 0 : places) - bad, mean = count ? sum / count : NaN;
    table.min[c] = count ? low : NaN; table.max[c] = count ? high : NaN; table.mean[c] = mean;
    table.std[c] = low === high ? 0 : Math.sqrt(Math.max(0, square / count - mean * mean));
    table.zero[c] = empty ? NaN : zeros / places;
    if (low === high && !bad && places > 1) blank.push(c);
    if (low < all.low) all.low = low;
    if (high > all.high) all.high = high;
    all.sum += sum; all.square += square; all.count += count; all.zeros += zeros; all.bad += bad;
    if (!empty) drawTile(values, c * places, [height, width], factor, table, c, levels, sheet, (Math.floor(c / across) * h * across + c % across) * w, across * w, h, w);
    else sheet[Math.floor(c / across) * across + c % across] = 255;
  }
  const mean = all.sum / all.count, known = all.count > 0;
  const entry = {
    shape, tile: [h, w], min: known ? all.low : null, max: known ? all.high : null, mean: known ? mean : null,
    std: known ? Math.sqrt(Math.max(0, all.square / all.count - mean * mean)) : null, zero: empty ? null : all.zeros / values.length,
    blank, bad: all.bad, empty, places: layer.places, apart: layer.grid ? layer.grid.extra : 0,
  };
  return { entry, table, sheet: { levels: sheet, width: across * w, height: Math.ceil(channels / across) * h } };
}

// A reduced element is the mean of what it covers, and zero only if all of that is.
function drawTile(values, start, [height, width], factor, table, c, levels, sheet, corner, line, h, w) {
  const low = table.min[c], span = table.max[c] - low;
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      let sum = 0, count = 0, zeros = 0;
      for (let v = y * factor, bottom = Math.min(height, v + factor); v < bottom; v++)
        for (let u = x * factor, right = Math.min(width, u + factor); u < right; u++) {
          const value = values[start + v * width + u];
          sum += value; count++;
          if (value === 0) zeros++;
        }
      const share = span > 0 ? (sum / count - low) / span : 0;
      sheet[corner + y * line + x] = sum - sum !== 0 ? 255 : zeros === count ? 0 : 1 + roundEven(Math.max(0, Math.min(1, share)) * levels);
    }
}
