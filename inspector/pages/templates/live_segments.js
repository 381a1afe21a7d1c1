// The class of each pixel, as inspector/tasks/back.py finds it, at the pixels that the page shows.
// about: { tensor, activation, last, foreground }: softmax, none and sigmoid are maps of classes, indices are classes.
function findSegments(tensor, about, box, size, [wide, high]) {
  const values = numbersOf(tensor), dims = tensor.dims.slice(1), whole = about.activation === "indices";
  const flat = whole && dims.length > 2 ? dims.filter((n, axis) => axis !== (dims[0] === 1 ? 0 : 2)) : dims; // of one channel
  const [count, h, w] = flat.length === 2 ? [1, ...flat] : about.last ? [flat[2], flat[0], flat[1]] : flat;
  const [plane, step] = about.last && flat.length > 2 ? [1, count] : [h * w, 1];
  const rows = placesOf(high, size[1], box[1], box[3], h), columns = placesOf(wide, size[0], box[0], box[2], w);
  const classes = new Int32Array(wide * high).fill(-1), shares = new Map();
  for (let y = 0, to = 0; y < high; y++)
    for (let x = 0; x < wide; x++, to++) {
      if (!rows.seen[y] || !columns.seen[x]) continue;
      const [v, t, u, s] = [rows.first[y], rows.share[y], columns.first[x], columns.share[x]];
      const below = Math.min(v + 1, h - 1), right = Math.min(u + 1, w - 1);
      const corners = [(v * w + u) * step, (v * w + right) * step, (below * w + u) * step, (below * w + right) * step];
      const at = (k) => {
        const [a, b, c, d] = corners.map((n) => values[k * plane + n]);
        return (a * (1 - t) + c * t) * (1 - s) + (b * (1 - t) + d * t) * s;
      };
      let best = 0;
      if (whole) best = roundEven(values[((t >= 0.5 ? below : v) * w + (s >= 0.5 ? right : u))]);
      else if (count === 1) best = about.activation === "sigmoid" ? Number(at(0) >= 0) : Number(at(0) >= 0.5);
      else for (let k = 1, most = at(0); k < count; k++) { const value = at(k); if (value > most) { most = value; best = k; } }
      classes[to] = best;
      shares.set(best, (shares.get(best) ?? 0) + 1 / classes.length);
    }
  const order = [...shares].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 250), placeOf = new Map(order.map(([index], n) => [index, n]));
  return { width: wide, height: high, mask: Uint8Array.from(classes, (index) => placeOf.get(index) ?? 255), classes: order.map(([index, share]) => ({ index, share })) };
}

// For each shown pixel the cell before its centre, how far it lies on the way to the next, and whether it was seen.
function placesOf(shown, pixels, low, high, cells) {
  const centres = Float64Array.from({ length: shown }, (_, n) => (n + 0.5) / shown * pixels);
  const at = centres.map((c) => Math.max(0, Math.min(cells - 1, (c - low) / (high - low) * cells - 0.5)));
  const first = at.map((v) => Math.min(Math.floor(v), cells - 1));
  return { first, share: at.map((v, n) => v - first[n]), seen: Uint8Array.from(centres, (c) => c >= low && c <= high) };
}
