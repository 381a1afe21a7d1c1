// Drawing and wording from what is handed in; nothing here knows the page that it stands in.
const bytes = (text) => {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) out[n] = raw.charCodeAt(n);
  return out;
};
const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const percent = (x) => x === null ? "not finite" : x === 0 ? "0 %" : x === 1 ? "100 %" : x < 0.0005 ? "< 0.1 %" : x >= 0.9995 ? "> 99.9 %" : (100 * x).toFixed(1) + " %";
const number = (x) => x === null || !isFinite(x) ? "not finite" : x === 0 ? "0" : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== false) node.setAttribute(key, value === true ? "" : value);
  node.append(...children);
  return node;
};

function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
}

// The color of every level of one channel: 256 entries. Level 0 is exactly zero, 255 is not finite.
// channel: { min, span, single }; range: the values that the first and the last color stand for.
function levelColors(channel, [low, high], colors, zero, levels) {
  const out = new Uint8ClampedArray(256 * 4), span = high - low;
  for (let level = 1; level <= levels + 1; level++) {
    const value = channel.single ? channel.min : channel.min + (level - 1) / levels * channel.span;
    const index = span > 0 ? Math.max(0, Math.min(255, Math.round((value - low) / span * 255))) : 0;
    out.set([colors[3 * index], colors[3 * index + 1], colors[3 * index + 2], 255], 4 * level);
  }
  out.set([...zero, 255], 0);
  out.set([255, 0, 255, 255], 4 * 255);
  return out;
}

function hatch(context, x, y, w, h) {
  context.save();
  context.beginPath(); context.rect(x, y, w, h); context.clip();
  context.fillStyle = "#e4e4ea"; context.fillRect(x, y, w, h);
  context.strokeStyle = "#8a8a92"; context.lineWidth = 2;
  context.beginPath();
  for (let d = -h; d < w; d += 7) { context.moveTo(x + d, y + h); context.lineTo(x + d + h, y); }
  context.stroke(); context.restore();
}

function bar(canvas, colors) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    const n = 3 * Math.round(x / (canvas.width - 1) * 255);
    context.fillStyle = `rgb(${colors[n]},${colors[n + 1]},${colors[n + 2]})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

function paint(context, levels, w, h, colors, x, y, width, height, smooth) {
  const small = element("canvas", { width: w, height: h }), inner = small.getContext("2d"), pixels = inner.createImageData(w, h);
  for (let p = 0; p < levels.length; p++) pixels.data.set(colors.subarray(4 * levels[p], 4 * levels[p] + 4), 4 * p);
  inner.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.drawImage(small, x, y, width, height);
}

function hover(canvas, valueAt, caption, told) {
  canvas.addEventListener("pointermove", (event) => {
    const k = canvas.width / canvas.clientWidth, x = event.offsetX * k, y = event.offsetY * k, value = valueAt(x, y);
    caption.textContent = value === null ? told : `${told}: ${typeof value === "number" ? number(value) : value} here`;
  });
  canvas.addEventListener("pointerleave", () => { caption.textContent = told; });
}

function valueOn(cam, x, y) { // bilinear between the centres of the cells; x, y in 0..1 of the box
  const [h, w] = cam.shape, u = Math.max(0, Math.min(w - 1, x * w - 0.5)), v = Math.max(0, Math.min(h - 1, y * h - 0.5));
  const a = Math.floor(u), b = Math.floor(v), c = Math.min(w - 1, a + 1), d = Math.min(h - 1, b + 1), s = u - a, t = v - b, m = cam.map;
  return (m[b * w + a] * (1 - s) + m[b * w + c] * s) * (1 - t) + (m[d * w + a] * (1 - s) + m[d * w + c] * s) * t;
}

// Lays a heatmap over the picture that is drawn already; box: where its cells lie, in pixels of the canvas.
function layOver(context, cam, [x0, y0, x1, y1], colors, alpha) {
  const { width, height } = context.canvas, pixels = context.getImageData(0, 0, width, height);
  for (let y = Math.max(0, Math.floor(y0)); y < Math.min(height, y1); y++)
    for (let x = Math.max(0, Math.floor(x0)); x < Math.min(width, x1); x++) {
      const n = 3 * Math.round(255 * valueOn(cam, (x + 0.5 - x0) / (x1 - x0), (y + 0.5 - y0) / (y1 - y0))), p = 4 * (y * width + x);
      for (let q = 0; q < 3; q++) pixels.data[p + q] += alpha * (colors[n + q] - pixels.data[p + q]);
    }
  context.putImageData(pixels, 0, 0);
}

function store(canvases, told, name) {
  const width = Math.max(360, ...canvases.map((c) => c.width)), words = told.split(" "), lines = [""];
  const ruler = element("canvas").getContext("2d");
  ruler.font = "13px sans-serif";
  for (const word of words) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (ruler.measureText(longer).width > width - 16) lines.push(word); else lines[lines.length - 1] = longer;
  }
  const height = canvases.reduce((sum, c) => sum + c.height + 8, 0) + lines.length * 18 + 8;
  const sheet = element("canvas", { width, height }), context = sheet.getContext("2d");
  context.fillStyle = "#fff"; context.fillRect(0, 0, width, height);
  let y = 0;
  for (const canvas of canvases) { context.drawImage(canvas, 0, y); y += canvas.height + 8; }
  context.fillStyle = "#1b1b1f"; context.font = "13px sans-serif";
  lines.forEach((line, n) => context.fillText(line, 8, y + 14 + 18 * n));
  sheet.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]+/g, "_") + ".png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
