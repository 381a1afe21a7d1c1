// The objects of a detector, found as inspector/tasks does it. Which numbers mean what is told by about.layout, which
// the head itself writes (inspector/tasks/layout.py); nothing here knows a head by its name.
const MOST_BOXES = 300;
const product = (sizes) => sizes.reduce((a, b) => a * b, 1);
const share = (v) => Math.fround(1 / (1 + Math.fround(Math.exp(-v))));

// { count, width, at(place, column) } of a table, whose tensors are joined one behind the other.
function openTable({ tensors, first, inner }, found) {
  const parts = tensors.map((name) => {
    const { dims } = found[name], values = numbersOf(found[name]), rank = dims.length;
    const count = first ? product(dims.slice(2)) : dims[rank - 1 - inner] ?? 1, width = first ? dims[1] : product(dims.slice(rank - inner));
    return { count, width, at: first ? (a, c) => values[c * count + a] : (a, c) => values[a * width + c], dims };
  });
  const [{ width, dims, at }] = parts, count = parts.reduce((sum, part) => sum + part.count, 0);
  if (parts.length === 1) return { count, width, dims, at };
  const ends = []; // places before the end of each part
  for (const part of parts) ends.push((ends.at(-1) ?? 0) + part.count);
  return { count, width, dims: null, at: (a, c) => { const n = ends.findIndex((end) => a < end); return parts[n].at(a - (n ? ends[n - 1] : 0), c); } };
}

// [column, row, stride] of a place, and what is added to both: of the first grids that have so many places together.
function openGrid(grid, table, count, [height, width]) {
  const sizes = grid.pyramids.map((strides) => strides.map((s) => table.dims?.length === 4 ? table.dims.slice(2) : [Math.ceil(height / s), Math.ceil(width / s)]));
  const n = sizes.findIndex((of) => of.reduce((sum, [h, w]) => sum + h * w, 0) === count);
  if (n < 0) throw new Error(`the outputs have ${count} places, and no grids of ${height} × ${width} have as many`);
  const shift = grid.shifts[n];
  return (a) => {
    for (let level = 0, rest = a; ; level++) {
      const [h, w] = sizes[n][level];
      if (rest < h * w) return [rest % w, Math.floor(rest / w), grid.pyramids[n][level], shift];
      rest -= h * w;
    }
  };
}

// Objects in pixels of the network's input, [height, width], the highest score first: { box, score, index, place, rotated, points }.
function findBoxes(found, about, size) {
  const { layout } = about, tables = layout.tables.map((table) => openTable(table, found));
  const read = ([table, column], a) => tables[table].at(a, column), count = tables[layout.scores[0]].count;
  const place = layout.grid && openGrid(layout.grid, tables[layout.box[0][0]], count, size);
  const objects = [];
  if (layout.pieces) for (const { rotated, score } of findPieces(found[layout.tables[0].tensors[0]], layout.pieces, size))
    if (score >= about.confidence) objects.push({ box: enclose(cornersOf(rotated)), score, index: 0, place: 0, rotated, points: null });
  for (const [a, score, index] of layout.pieces ? [] : layout.peaks ? findPeaks(tables, layout, about.confidence) : findScores(tables, layout, read, about.confidence)) {
    let box = readBox(layout, read, tables, a, place && place(a), size), rotated = null;
    if (layout.angle) { rotated = [...box, read(layout.angle, a)]; box = enclose(cornersOf(rotated)); }
    else if (!layout.corners && layout.grid?.sides !== "bins") { const [x, y, w, h] = box; box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2].map(Math.fround); }
    if (box.every(Number.isFinite)) objects.push({ box, score, index, place: a, rotated, points: layout.points ? pointsOf(layout.points, tables, a, box, place && place(a)) : null });
  }
  objects.sort((a, b) => b.score - a.score); // of equal scores the first stays first
  return about.iou === null ? objects.slice(0, MOST_BOXES) : suppress(objects, about.iou);
}

// [place, score, class] of every place whose best class is sure enough; a score that is not finite is none.
function* findScores(tables, layout, read, least) {
  const [table, first, many] = layout.scores, { count, width, at } = tables[table], classes = many ?? width - first;
  const values = new Float32Array(classes);
  for (let a = 0; a < count; a++) {
    if (layout.within) { const [of, low, high] = layout.within, v = read(of, a); if (!(v >= low && (high === null || v <= high))) continue; }
    let most = -Infinity, total = 0, best = 0;
    for (let k = 0; k < classes; k++) { const v = at(a, first + k); values[k] = layout.activation === "sigmoid" ? share(v) : v; most = Math.max(most, v); }
    if (layout.activation === "softmax") for (let k = 0; k < classes; k++) total += values[k] = Math.exp(values[k] - most);
    const end = layout.activation === "softmax" ? classes - 1 : classes; // its last says that there is no object
    for (let k = 0; k < end && !Number.isNaN(values[best]); k++) if (values[k] > values[best] || Number.isNaN(values[k])) best = k;
    let score = total ? values[best] / total : values[best];
    const sure = layout.sure ? read(layout.sure, a) : 1, cut = (v) => Math.max(0, Math.min(1, v));
    score = Math.fround(layout.root ? Math.sqrt(cut(score) * cut(sure)) : score * sure);
    if (!(score >= least) || score === Infinity) continue;
    yield [a, score, layout.label ? Math.max(0, roundEven(read(layout.label, a) || 0)) : best + layout.first_class];
  }
}

// The same of maps of classes: where none of the eight neighbors is higher.
function* findPeaks(tables, layout, least) {
  const [table, first, many] = layout.scores, { at, width, dims } = tables[table], [h, w] = dims.slice(2);
  for (let k = 0; k < (many ?? width - first); k++) {
    const heat = Float32Array.from({ length: h * w }, (_, a) => layout.activation === "sigmoid" ? share(at(a, first + k)) : at(a, first + k));
    for (let a = 0; a < h * w; a++) {
      if (!(heat[a] >= least)) continue;
      const x = a % w, y = (a - x) / w;
      let peak = true;
      for (let v = Math.max(0, y - 1); v <= Math.min(h - 1, y + 1); v++) for (let u = Math.max(0, x - 1); u <= Math.min(w - 1, x + 1); u++) if (heat[v * w + u] > heat[a]) peak = false;
      if (peak) yield [a, heat[a], k];
    }
  }
}

// The four numbers of a box in pixels: corners, or centre and sides as the layout has it.
function readBox(layout, read, tables, a, place, [height, width]) {
  const { grid } = layout;
  if (grid?.sides === "bins") {
    const [column, row, step, shift] = place, x = (column + shift) * step, y = (row + shift) * step;
    const [l, t, r, b] = layout.box.map(([table, first]) => {
      const values = Array.from({ length: grid.bins }, (_, n) => tables[table].at(a, first + n)), most = Math.max(...values), powers = values.map((v) => Math.exp(v - most));
      return step * powers.reduce((sum, v, n) => sum + n * v, 0) / powers.reduce((sum, v) => sum + v, 0);
    });
    return [x - l, y - t, x + r, y + b].map(Math.fround);
  }
  let box = layout.box.map((number) => read(number, a));
  if (grid) {
    const [column, row, step, shift] = place, side = (v) => (grid.sides === "exp" ? Math.exp(v) : v) * step;
    box = [(box[0] + column + shift) * step, (box[1] + row + shift) * step, side(box[2]), side(box[3])];
  }
  if (layout.shares) box = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
  return box.map(Math.fround);
}

function pointsOf({ at: [table, first, many], numbers, unit, swapped }, tables, a, [x0, y0, x1, y1], place) {
  const out = [], end = many === null ? tables[table].width : first + many;
  for (let c = first; c + numbers <= end; c += numbers) {
    let [x, y] = [tables[table].at(a, c + (swapped ? 1 : 0)), tables[table].at(a, c + (swapped ? 0 : 1))];
    if (unit === "cells") [x, y] = [(x + place[0]) * place[2], (y + place[1]) * place[2]];
    if (unit === "box") [x, y] = [x0 + x * (x1 - x0), y0 + y * (y1 - y0)];
    out.push([x, y, numbers === 3 ? tables[table].at(a, c + 2) : 1]);
  }
  return out;
}

// The corners of an oriented box in the order around it.
function cornersOf([x, y, w, h, angle]) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => [x + (a * c * w - b * s * h) / 2, y + (a * s * w + b * c * h) / 2].map(Math.fround));
}

const enclose = (corners) => [Math.min, Math.max].flatMap((best) => [0, 1].map((axis) => best(...corners.map((corner) => corner[axis]))));

// Those that overlap no better one of their class; oriented boxes go even where the better one went itself.
function suppress(objects, limit) {
  const kept = [], spreads = new Map(objects.map((one) => [one, one.rotated && spreadOf(one.rotated)]));
  for (const [n, one] of objects.entries()) {
    if (kept.length === MOST_BOXES) break;
    const hides = one.rotated ? (better) => overlapOfTurned(better.rotated, spreads.get(better), one.rotated, spreads.get(one)) > limit : (better) => overlap(better.box, one.box) > limit;
    if (!(one.rotated ? objects.slice(0, n) : kept).some((better) => better.index === one.index && hides(better))) kept.push(one);
  }
  return kept;
}

function overlap(a, b) {
  const inner = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner); // NaN of empty boxes is above no limit
}

// Variance along x, along y, and covariance, of an oriented box; the overlap of two is that of their Gaussians.
function spreadOf([, , w, h, angle]) {
  const [c, s, a, b] = [Math.cos(angle), Math.sin(angle), w * w / 12, h * h / 12];
  return [a * c * c + b * s * s, a * s * s + b * c * c, (a - b) * c * s];
}

function overlapOfTurned([x1, y1], [a1, b1, c1], [x2, y2], [a2, b2, c2]) {
  const [a, b, c, dx, dy] = [a1 + a2, b1 + b2, c1 + c2, x2 - x1, y2 - y1], total = a * b - c * c;
  const spread = Math.sqrt(Math.max(0, (a1 * b1 - c1 * c1) * (a2 * b2 - c2 * c2)));
  const distance = (b * dx * dx + a * dy * dy - 2 * c * dx * dy) / (4 * total) + Math.log(Math.max(total / (4 * spread), 1e-300)) / 2;
  return 1 - Math.sqrt(Math.max(0, 1 - Math.exp(-Math.max(distance, 0))));
}

// From pixels of the network's input to those of the picture, boxes clipped to it; what lies wholly beyond it is left out.
function boxesInPicture(objects, [width, height], [x0, y0, x1, y1], [w, h]) {
  const clip = (v, most) => Math.max(0, Math.min(most, v)), back = ([x, y]) => [x0 + x / width * (x1 - x0), y0 + y / height * (y1 - y0)];
  return objects.map(({ box: [l, t, r, b], rotated, points, ...one }) => {
    const [[left, top], [right, bottom]] = [back([l, t]), back([r, b])];
    return { ...one, box: [clip(left, w), clip(top, h), clip(right, w), clip(bottom, h)], corners: rotated && cornersOf(rotated).map(back),
      points: points && points.map(([x, y, seen]) => [...back([x, y]), seen]) };
  }).filter(({ box }) => box[2] > box[0] && box[3] > box[1]);
}

// The mask of each object at the pixels that the page shows, cut to its box: { x, y, width, height, on }.
function masksInPicture(objects, found, layout, view, size, [wide, high]) {
  const { tensor, coefficients } = layout.masks, { dims } = found[tensor], values = numbersOf(found[tensor]), [h, w] = dims.slice(2), cells = h * w;
  const table = coefficients && openTable(layout.tables[coefficients[0]], found);
  const rows = placesOf(high, size[1], view[1], view[3], h), columns = placesOf(wide, size[0], view[0], view[2], w);
  return objects.map(({ box, place }) => {
    let plane = table ? new Float32Array(cells) : Float32Array.from(values.subarray(place * cells, (place + 1) * cells), (v) => v - 0.5);
    if (table) for (let m = 0; m < dims[1]; m++) { const k = table.at(place, coefficients[1] + m); for (let n = 0; n < cells; n++) plane[n] += k * values[m * cells + n]; }
    const inside = ({ seen }, pixels, shown, low, end) => [...seen.keys()].filter((n) => seen[n] && (n + 0.5) / shown * pixels >= low && (n + 0.5) / shown * pixels <= end);
    const ys = inside(rows, size[1], high, box[1], box[3]), xs = inside(columns, size[0], wide, box[0], box[2]);
    if (!ys.length || !xs.length) return null;
    const on = new Uint8Array(ys.length * xs.length);
    ys.forEach((y, n) => xs.forEach((x, m) => {
      const [v, t, u, s] = [rows.first[y], rows.share[y], columns.first[x], columns.share[x]], below = Math.min(v + 1, h - 1), right = Math.min(u + 1, w - 1);
      const left = plane[v * w + u] * (1 - t) + plane[below * w + u] * t, other = plane[v * w + right] * (1 - t) + plane[below * w + right] * t;
      on[n * xs.length + m] = left * (1 - s) + other * s > 0 ? 1 : 0;
    }));
    return { x: xs[0], y: ys[0], width: xs.length, height: ys.length, on };
  });
}
