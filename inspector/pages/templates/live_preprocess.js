// From the bytes of a picture to the tensor that the network takes, in the arithmetic of inspector/image/preprocess.py:
// Pillow's resampling with its fixed-point weights, Python's rounding, the same tables of values.

// --- which way up ---------------------------------------------------------------------------------------------------
// { value, at, little }: the EXIF orientation 1 to 8 and where it is written, or null where nothing is said.
function findOrientation(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength), text = (at, n) => String.fromCharCode(...file.subarray(at, at + n));
  const inTiff = (at) => {
    if (text(at, 4) === "Exif") at += 6;
    const little = text(at, 2) === "II";
    if (!little && text(at, 2) !== "MM") return null;
    const ifd = at + view.getUint32(at + 4, little);
    for (let n = view.getUint16(ifd, little), entry = ifd + 2; n > 0; n--, entry += 12)
      if (view.getUint16(entry, little) === 0x0112) return { value: view.getUint16(entry + 8, little), at: entry + 8, little };
    return null;
  };
  try {
    if (view.getUint16(0) === 0xffd8) { // JPEG: segments up to the scan
      for (let at = 2; view.getUint8(at) === 0xff && view.getUint8(at + 1) !== 0xda; at += 2 + view.getUint16(at + 2))
        if (view.getUint8(at + 1) === 0xe1 && text(at + 4, 4) === "Exif") return inTiff(at + 4);
    } else if (text(1, 3) === "PNG") {
      for (let at = 8; at < file.length; at += 12 + view.getUint32(at))
        if (text(at + 4, 4) === "eXIf") return inTiff(at + 8);
    } else if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") {
      for (let at = 12; at < file.length; at += 8 + view.getUint32(at + 4, true) + view.getUint32(at + 4, true) % 2)
        if (text(at, 4) === "EXIF") return inTiff(at + 8);
    }
  } catch (error) { if (!(error instanceof RangeError)) throw error; } // a damaged block: the picture may be fine
  return null;
}

// { data: RGBA, width, height } of a picture's file, upright, on white. Browsers differ in what they turn, so the
// orientation is read here, and they are given a copy that says "upright already".
async function decode(file) {
  const orientation = findOrientation(file);
  let upright = file;
  if (orientation) {
    upright = file.slice();
    new DataView(upright.buffer).setUint16(orientation.at, 1, orientation.little);
  }
  const options = { imageOrientation: "none", premultiplyAlpha: "none", colorSpaceConversion: "none" };
  let bitmap;
  try { bitmap = await createImageBitmap(new Blob([upright]), options); }
  catch { throw new Error("this is not a picture that this browser can open (JPEG, PNG, WebP and BMP are)"); }
  return turn(readPixels(bitmap), orientation ? orientation.value : 1);
}

function readPixels(bitmap) {
  const { width, height } = bitmap, canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  for (let p = 3; p < data.length; p += 4) {
    if (data[p] === 255) continue;
    const share = data[p] * 128, rest = 255 * 128 - share; // as Pillow's alpha_composite lays it on white
    for (let q = p - 3; q < p; q++) {
      const sum = data[q] * share + 255 * rest + 0x4000;
      data[q] = data[p] ? (((sum >> 8) + sum) >> 8) >> 7 : 255;
    }
    data[p] = 255;
  }
  return { data, width, height };
}

// Orientation 1 to 8: where the pixel x, y of the upright picture lies in the stored one.
function turn(picture, orientation) {
  if (!(orientation >= 2 && orientation <= 8)) return picture;
  const { width: w, height: h } = picture, across = orientation >= 5;
  const [width, height] = across ? [h, w] : [w, h];
  const from = [null, null, (x, y) => [w - 1 - x, y], (x, y) => [w - 1 - x, h - 1 - y], (x, y) => [x, h - 1 - y],
    (x, y) => [y, x], (x, y) => [y, h - 1 - x], (x, y) => [w - 1 - y, h - 1 - x], (x, y) => [w - 1 - y, x]][orientation];
  const source = new Uint32Array(picture.data.buffer), out = new Uint32Array(width * height);
  // Along a row the place in the stored picture moves by the same step.
  for (let y = 0; y < height; y++) {
    const [ax, ay] = from(0, y), [bx, by] = from(1, y);
    const step = bx - ax + (by - ay) * w;
    for (let x = 0, at = ay * w + ax, to = y * width; x < width; x++, at += step, to++) out[to] = source[at];
  }
  return { data: new Uint8ClampedArray(out.buffer), width, height };
}

// --- resizing as Pillow does it ----------------------------------------------------------------------------------------
const sinc = (x) => x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
const KERNELS = { // [support, value at x]
  box: [0.5, (x) => x > -0.5 && x <= 0.5 ? 1 : 0],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => x === 0 ? 1 : Math.abs(x) >= 1 ? 0 : sinc(Math.abs(x)) * (0.54 + 0.46 * Math.cos(Math.PI * Math.abs(x)))],
  bicubic: [2, (x) => {
    const a = -0.5, t = Math.abs(x);
    return t < 1 ? ((a + 2) * t - (a + 3)) * t * t + 1 : t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
  }],
  lanczos: [3, (x) => x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0],
};
const BITS = 22; // of the weights' fixed point

// For each output the first input, how many, and their weights, `most` apart.
function weigh(from, to, filter) {
  const scale = from / to, wide = Math.max(1, scale), [reach, kernel] = KERNELS[filter], support = reach * wide;
  const most = Math.ceil(support) * 2 + 1, first = new Int32Array(to), count = new Int32Array(to), weights = new Int32Array(to * most);
  for (let n = 0; n < to; n++) {
    const centre = (n + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5)), high = Math.min(from, Math.trunc(centre + support + 0.5));
    const row = [];
    let sum = 0;
    for (let k = low; k < high; k++) { const w = kernel((k - centre + 0.5) / wide); row.push(w); sum += w; }
    first[n] = low; count[n] = high - low;
    row.forEach((w, k) => {
      const share = (sum !== 0 ? w / sum : w) * (1 << BITS);
      weights[n * most + k] = Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
  }
  return { first, count, weights, most };
}

// One direction: `lines` lines, inputs `step` apart, lines `line` apart; the output has the same steps of its own.
function resample(source, step, line, target, targetStep, targetLine, lines, to, { first, count, weights, most }) {
  for (let l = 0; l < lines; l++)
    for (let n = 0; n < to; n++) {
      let r = 1 << (BITS - 1), g = r, b = r, at = l * line + first[n] * step;
      for (let k = n * most, end = k + count[n]; k < end; k++, at += step) {
        const w = weights[k];
        r += source[at] * w; g += source[at + 1] * w; b += source[at + 2] * w;
      }
      const out = l * targetLine + n * targetStep; // clamped to 0..255 as it is stored
      target[out] = r >> BITS; target[out + 1] = g >> BITS; target[out + 2] = b >> BITS; target[out + 3] = 255;
    }
}

// vertical: whether Pillow, as of some version, begins with the direction that leaves less for the other.
function resize({ data, width, height }, [w, h], filter, vertical = false) {
  if (w === width && h === height) return { data, width, height };
  if (filter === "nearest") return { data: nearest(data, width, height, w, h), width: w, height: h };
  const yFirst = vertical && height - h > 0 && height - h > 2 * (width - w);
  const picture = { data, width, height };
  return yFirst ? resizeRows(resizeColumns(picture, h, filter), w, filter) : resizeColumns(resizeRows(picture, w, filter), h, filter);
}

function resizeRows({ data, width, height }, w, filter) {
  if (w === width) return { data, width, height };
  const out = new Uint8ClampedArray(w * height * 4);
  resample(data, 4, 4 * width, out, 4, 4 * w, height, w, weigh(width, w, filter));
  return { data: out, width: w, height };
}

function resizeColumns({ data, width, height }, h, filter) {
  if (h === height) return { data, width, height };
  const out = new Uint8ClampedArray(width * h * 4);
  resample(data, 4 * width, 4, out, 4 * width, 4, width, h, weigh(height, h, filter));
  return { data: out, width, height: h };
}

function nearest(data, width, height, w, h) {
  const source = new Uint32Array(data.buffer), out = new Uint32Array(w * h), columns = new Int32Array(w);
  let x = width / w * 0.5, y = height / h * 0.5;
  for (let n = 0; n < w; n++, x += width / w) columns[n] = Math.min(width - 1, Math.trunc(x)); // summed up, as Pillow does
  for (let m = 0; m < h; m++, y += height / h) {
    const row = Math.min(height - 1, Math.trunc(y)) * width;
    for (let n = 0; n < w; n++) out[m * w + n] = source[row + columns[n]];
  }
  return new Uint8ClampedArray(out.buffer);
}

// --- the preprocess -------------------------------------------------------------------------------------------------
const roundEven = (x) => { const low = Math.floor(x), rest = x - low; return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1; };

// What inspector.image.Preprocess of the same settings does: { frame, inner, left, top } for a picture's size.
function placeIn(p, [width, height]) {
  const asItIs = p.size ? ["none"] : p.stride > 1 ? ["none", "shortest"] : ["none", "shortest", "stretch", "pad"];
  const step = p.resize === "stretch" || p.resize === "pad" ? p.stride : 1;
  const frame = p.size && p.resize !== "none" ? [p.size[1], p.size[0]] : [Math.ceil(width / step) * step, Math.ceil(height / step) * step];
  if (asItIs.includes(p.resize)) return { frame, inner: [width, height], left: 0, top: 0, way: "none" };
  if (p.resize === "stretch") return { frame, inner: frame, left: 0, top: 0, way: "stretch" };
  if (p.resize === "pad") {
    const ratio = Math.min(frame[0] / width, frame[1] / height);
    const inner = [Math.max(1, roundEven(width * ratio)), Math.max(1, roundEven(height * ratio))];
    const [left, top] = p.place === "corner" ? [0, 0] : [Math.floor((frame[0] - inner[0]) / 2), Math.floor((frame[1] - inner[1]) / 2)];
    return { frame, inner, left, top, way: "pad" };
  }
  const short = p.resize_size || Math.min(...p.size);
  const inner = width <= height ? [short, Math.max(1, Math.trunc(short * height / width))] : [Math.max(1, Math.trunc(short * width / height)), short];
  const [left, top] = [0, 1].map((k) => inner[k] >= frame[k] ? roundEven((inner[k] - frame[k]) / 2) : -Math.floor((frame[k] - inner[k]) / 2));
  return { frame, inner, left, top, way: "shortest" };
}

// [left, top, right, bottom] of the part of the picture that the tensor covers, in its pixels.
function boxOf({ frame, inner, left, top, way }, [width, height]) {
  if (way === "none" || way === "stretch") return [0, 0, width, height];
  const [x, y] = way === "pad" ? [-left, -top] : [left, top];
  return [x * width / inner[0], y * height / inner[1], (x + frame[0]) * width / inner[0], (y + frame[1]) * height / inner[1]];
}

// The picture as the network sees it: RGBA of the tensor's size.
function viewOf(p, picture) {
  const place = placeIn(p, [picture.width, picture.height]), [width, height] = place.frame;
  const small = resize(picture, place.inner, p.filter, p.vertical);
  if (place.way === "none" || place.way === "stretch") return { ...small, place };
  const out = new Uint32Array(width * height), source = new Uint32Array(small.data.buffer);
  const back = new Uint8ClampedArray([...(place.way === "pad" ? p.fill : [0, 0, 0]), 255]);
  out.fill(new Uint32Array(back.buffer)[0]);
  const [dx, dy] = place.way === "pad" ? [place.left, place.top] : [-place.left, -place.top];
  for (let y = Math.max(0, dy); y < Math.min(height, dy + small.height); y++)
    for (let x = Math.max(0, dx); x < Math.min(width, dx + small.width); x++) out[y * width + x] = source[(y - dy) * small.width + x - dx];
  return { data: new Uint8ClampedArray(out.buffer), width, height, place };
}

// Float32Array (or Uint8Array) in the order of the tensor.
function tensorOf(p, { data, width, height }) {
  const channels = p.mean.length, places = width * height, out = p.dtype === "uint8" ? new Uint8Array(channels * places) : new Float32Array(channels * places);
  const [step, plane] = p.layout === "NHWC" ? [channels, 1] : [1, places];
  for (let c = 0; c < channels; c++) {
    const values = Float64Array.from({ length: 256 }, (_, n) => (n * p.scale - p.mean[c]) / p.std[c]);
    const table = p.dtype === "uint8" ? values.map((v) => Math.max(0, Math.min(255, roundEven(Math.fround(v))))) : values;
    const color = p.colour === "BGR" ? 2 - c : c;
    for (let n = 0, at = c * plane; n < places; n++, at += step) {
      const q = 4 * n;
      out[at] = table[p.colour === "L" ? (data[q] * 19595 + data[q + 1] * 38470 + data[q + 2] * 7471 + 0x8000) >> 16 : data[q + color]];
    }
  }
  return out;
}
