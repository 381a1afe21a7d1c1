// The boxes of the YOLO family, decoded and suppressed as inspector/tasks does it.
// about: { tensor, form, classes, iou, confidence }. form: "columns" (1, 4 + K + ..., A), "rows" (1, A, 5 + K + ...) with
// objectness, or "final" (1, n, 6 + ...) or (n, 6): corners, score, class, suppressed by the graph.
const MOST_BOXES = 300;

function findBoxes(tensor, about) {
  const values = numbersOf(tensor), dims = tensor.dims.slice(-2), found = [];
  const keep = (box, score, index) => { if (score >= about.confidence && box.every(Number.isFinite)) found.push({ box, score, index }); };
  const around = (x, y, w, h) => [x - w / 2, y - h / 2, x + w / 2, y + h / 2].map(Math.fround);
  if (about.form === "final") {
    const [rows, width] = dims;
    for (let a = 0; a < rows; a++) {
      const at = a * width;
      if (values[at + 4] > 0) keep(Array.from(values.subarray(at, at + 4)), values[at + 4], Math.max(0, roundEven(values[at + 5])));
    }
  } else {
    const [anchors, step, line] = about.form === "columns" ? [dims[1], dims[1], 1] : [dims[0], 1, dims[1]], first = about.form === "columns" ? 4 : 5;
    for (let a = 0; a < anchors; a++) {
      const at = (n) => values[a * line + n * step], sure = first === 5 ? at(4) : 1;
      let best = 0;
      for (let k = 1; k < about.classes; k++) if (at(first + k) > at(first + best)) best = k;
      keep(around(at(0), at(1), at(2), at(3)), Math.fround(sure * at(first + best)), best);
    }
  }
  found.sort((a, b) => b.score - a.score); // of equal scores the first stays first
  if (about.iou === null) return found.slice(0, MOST_BOXES);
  const kept = [];
  for (const one of found) {
    if (kept.length < MOST_BOXES && !kept.some((better) => better.index === one.index && overlap(better.box, one.box) > about.iou)) kept.push(one);
  }
  return kept;
}

function overlap(a, b) {
  const inner = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner); // NaN of empty boxes is above no limit
}

// From pixels of the network's input to those of the picture, clipped to it; what lies wholly beyond it is left out.
function boxesInPicture(found, [width, height], [x0, y0, x1, y1], [w, h]) {
  const clip = (v, most) => Math.max(0, Math.min(most, v));
  return found.map(({ box: [l, t, r, b], score, index }) => ({ score, index, box: [clip(x0 + l / width * (x1 - x0), w), clip(y0 + t / height * (y1 - y0), h),
    clip(x0 + r / width * (x1 - x0), w), clip(y0 + b / height * (y1 - y0), h)] })).filter(({ box }) => box[2] > box[0] && box[3] > box[1]);
}
