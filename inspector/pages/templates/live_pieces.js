// Pieces of a map that hang together, and the smallest rectangle around each, as in inspector/tasks/components.py.

// Objects { rotated, score } in pixels of the network's input, [height, width].
function findPieces(tensor, { threshold, growth, smallest }, [height, width]) {
  const plane = numbersOf(tensor), [h, w] = tensor.dims.slice(-2), [down, across] = [height / h, width / w], both = (down + across) / 2;
  return findComponents(plane, threshold, h, w).flatMap((cells) => {
    const [x, y, wide, high, angle] = findRectangle(cells, w);
    if (Math.min(wide, high) < smallest) return [];
    const grown = 2 * wide * high * growth / (2 * (wide + high)), score = cells.reduce((sum, n) => sum + plane[n], 0) / cells.length;
    return [{ rotated: [x * across, y * down, (wide + grown) * both, (high + grown) * both, angle].map(Math.fround), score: Math.fround(score) }];
  });
}

// The cells of each piece; corners touch.
function findComponents(plane, threshold, h, w) {
  const seen = new Uint8Array(h * w), pieces = [];
  for (let start = 0; start < h * w; start++) {
    if (seen[start] || !(plane[start] > threshold)) continue;
    const cells = [start];
    seen[start] = 1;
    for (let at = 0; at < cells.length; at++) {
      const x = cells[at] % w, y = (cells[at] - x) / w;
      for (let v = Math.max(0, y - 1); v <= Math.min(h - 1, y + 1); v++)
        for (let u = Math.max(0, x - 1); u <= Math.min(w - 1, x + 1); u++) {
          const n = v * w + u;
          if (!seen[n] && plane[n] > threshold) { seen[n] = 1; cells.push(n); }
        }
    }
    pieces.push(cells);
  }
  return pieces;
}

// [x, y, width, height, angle in (-pi / 4, pi / 4]]: it lies along a side of the hull (Freeman and Shapira 1975).
function findRectangle(cells, w) {
  const hull = findHull(cells, w), quarter = Math.PI / 2, turns = new Set();
  hull.forEach(([x, y], n) => {
    const [u, v] = hull[(n + 1) % hull.length], turn = Math.atan2(v - y, u - x) % quarter;
    turns.add(Math.round((turn < 0 ? turn + quarter : turn) * 1e9) / 1e9);
  });
  let best = null, least = Infinity;
  for (const turn of [...turns].sort((a, b) => a - b)) {
    const angle = turn > quarter / 2 ? turn - quarter : turn, [c, s] = [Math.cos(angle), Math.sin(angle)];
    const along = hull.map(([x, y]) => x * c + y * s), across = hull.map(([x, y]) => y * c - x * s);
    const [left, right, top, bottom] = [Math.min(...along), Math.max(...along), Math.min(...across), Math.max(...across)];
    const [wide, high, u, v] = [right - left, bottom - top, (left + right) / 2, (top + bottom) / 2];
    if (wide * high < least - 1e-9) { least = wide * high; best = [u * c - v * s, u * s + v * c, wide, high, angle]; }
  }
  return best;
}

// The corners of the convex hull of cells, in order around it (Andrew 1979); only the ends of each row can be corners.
function findHull(cells, w) {
  const rows = new Map();
  for (const n of cells) {
    const x = n % w, y = (n - x) / w, [low, high] = rows.get(y) ?? [x, x];
    rows.set(y, [Math.min(low, x), Math.max(high, x)]);
  }
  const points = [...rows].flatMap(([y, [low, high]]) => [[low, y], [low, y + 1], [high + 1, y], [high + 1, y + 1]]).sort(([a, b], [c, d]) => a - c || b - d);
  const halves = [points, [...points].reverse()].map((line) => {
    const half = [];
    for (const [x, y] of line) {
      while (half.length > 1) {
        const [[a, b], [c, d]] = half.slice(-2);
        if ((c - a) * (y - b) - (d - b) * (x - a) > 0) break;
        half.pop();
      }
      half.push([x, y]);
    }
    return half.slice(0, -1);
  });
  return halves.flat();
}
