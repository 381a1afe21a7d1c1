// D-RISE: the masks of inspector/cam/context.py, whose random numbers were drawn there and lie in the page.

// What is known of the masks over an input of size [height, width]: found holds the likeness of each box under each mask.
function openCovers(about, size) {
  const bits = Uint8Array.from(atob(about.bits), (c) => c.charCodeAt(0)), cell = size.map((side) => Math.ceil(side / about.cells));
  const covers = { about, bits, size, cell, found: [] };
  const [rows, columns] = size.map((side) => Float64Array.from({ length: side }, (_, n) => n));
  return Object.assign(covers, { rows, columns });
}

// Mask n, bilinear between its cells, at rows and columns of the input: Float32Array of rows x columns in [0, 1].
function maskOf({ about, bits, cell }, n, rows, columns) {
  const side = about.cells + 1, first = n * side * side, grid = (v, u) => { const at = first + v * side + u; return bits[at >> 3] >> (7 - at % 8) & 1; };
  const along = (places, axis) => {
    const shift = Math.floor(about.shifts[n][axis] / about.cell[axis] * cell[axis] + 1e-9);
    const at = Float64Array.from(places, (p) => Math.max(0, Math.min(side - 1, (p + shift + 0.5) / cell[axis] - 0.5))), low = at.map((v) => Math.min(Math.floor(v), side - 2));
    return { low, part: at.map((v, k) => v - low[k]) };
  };
  const y = along(rows, 0), x = along(columns, 1), out = new Float32Array(rows.length * columns.length);
  for (let r = 0, to = 0; r < rows.length; r++) {
    const line = Float64Array.from({ length: side }, (_, u) => grid(y.low[r], u) * (1 - y.part[r]) + grid(y.low[r] + 1, u) * y.part[r]);
    for (let c = 0; c < columns.length; c++, to++) out[to] = line[x.low[c]] * (1 - x.part[c]) + line[x.low[c] + 1] * x.part[c];
  }
  return out;
}

// For each box that is explained how like it the likest found box is: overlap times score, for one of its own class.
function likenessOf(wanted, found) {
  return wanted.map((one) => found.reduce((best, other) => other.index === one.index ? Math.max(best, (overlap(one.box, other.box) || 0) * other.score) : best, 0));
}

// [rows, columns] of the map of a box: every pixel of the input, or as many as a page can show.
const sampleOf = (size) => size.map((side) => Math.min(side, 160));

// The covariance of the likeness of box t with what the masks show, at each place.
function weighMasks(covers, t, shape) {
  const { found, size } = covers, mean = found.reduce((sum, like) => sum + like[t], 0) / found.length, out = new Float64Array(product(shape));
  const [rows, columns] = shape.map((many, axis) => Float64Array.from({ length: many }, (_, n) => (n + 0.5) * size[axis] / many - 0.5));
  found.forEach((like, n) => {
    const weight = Math.fround((like[t] - mean) / found.length);
    if (weight) maskOf(covers, n, rows, columns).forEach((v, at) => { out[at] += weight * v; });
  });
  return out;
}
