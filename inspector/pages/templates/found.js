// What a detector or a segmenter finds on the pictures: every box, and the class of each pixel.
// Every box that was found: white inside black can be seen on every picture; the one that is explained is thicker.
function drawBoxes(i, context, cam, filled) {
  if (filled) [...images[i].boxes].reverse().forEach((box) => box.mask && tint(context, box.mask, box.color, enlargement(photos[i])));
  const { width: wide, height: high } = context.canvas, k = wide / images[i].size[0], chosen = cam ? cam.number : -1;
  images[i].boxes.map((box, n) => ({ ...box, n })).reverse().sort((a, b) => (a.n === chosen) - (b.n === chosen)).forEach((box) => {
    const [x0, y0, x1, y1] = box.box, thick = box.n === chosen;
    const around = box.corners || [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    for (const [width, color] of thick ? [[6, "#000"], [3, "#fff"]] : [[3, "#000"], [1, "#fff"]]) {
      context.lineWidth = width; context.strokeStyle = color;
      context.beginPath();
      around.forEach(([x, y], n) => n ? context.lineTo(x * k, y * k) : context.moveTo(x * k, y * k));
      context.closePath(); context.stroke();
    }
    for (const [x, y, seen] of box.points ?? []) if (seen > 0) drawPoint(context, x * k, y * k, seen >= 0.5 ? `rgb(${box.color.join()})` : "#000");
    if (!thick && images[i].boxes.length > 30) return; // a crowd: numbers would hide it
    const text = thick ? `${box.n} ${box.label} ${box.score.toFixed(2)}` : String(box.n);
    context.font = `${thick ? "bold " : ""}13px system-ui, sans-serif`;
    const width = context.measureText(text).width + 8;
    const left = Math.max(0, Math.min(x0 * k, wide - width)), top = y0 * k >= 18 ? y0 * k - 18 : Math.min(y0 * k, high - 18);
    context.fillStyle = "#000"; context.fillRect(left, top, width, 18);
    context.fillStyle = "#fff"; context.textAlign = "left"; context.fillText(text, left + 4, top + 13);
  });
}

// The mask of an object, in its color; the canvas is so many times as large as the mask's pixels.
function tint(context, { x, y, width, height, on }, color, times) {
  const small = element("canvas", { width, height }), pixels = new ImageData(width, height), alpha = Math.round(255 * state.opacity / 100);
  on.forEach((inside, n) => { if (inside) pixels.data.set([...color, alpha], 4 * n); });
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, x * times, y * times, width * times, height * times);
}

// A keypoint: filled where it is likely to be seen.
function drawPoint(context, x, y, color) {
  context.beginPath(); context.arc(x, y, Math.max(2, context.canvas.width / 130), 0, 2 * Math.PI);
  context.fillStyle = color; context.fill();
  context.lineWidth = 1.5; context.strokeStyle = "#fff"; context.stroke();
}

const masks = images.map(() => null);
async function drawSegments(i, canvas, context) {
  const found = images[i].segments;
  masks[i] = masks[i] || (async () => {
    const picture = new Image();
    picture.src = "data:image/png;base64," + found.mask;
    await picture.decode();
    const small = element("canvas", { width: picture.width, height: picture.height }), inner = small.getContext("2d", { willReadFrequently: true });
    inner.drawImage(picture, 0, 0);
    return { width: picture.width, height: picture.height, data: inner.getImageData(0, 0, picture.width, picture.height).data };
  })();
  const mask = await masks[i], pixels = context.getImageData(0, 0, canvas.width, canvas.height), alpha = state.opacity / 100;
  const at = (x, y) => mask.data[4 * (Math.min(mask.height - 1, Math.floor(y * mask.height / canvas.height)) * mask.width + Math.min(mask.width - 1, Math.floor(x * mask.width / canvas.width)))];
  for (let y = 0; y < canvas.height; y++)
    for (let x = 0; x < canvas.width; x++) {
      const one = found.classes[at(x, y)], p = 4 * (y * canvas.width + x);
      if (one) for (let q = 0; q < 3; q++) pixels.data[p + q] += alpha * (one.color[q] - pixels.data[p + q]);
    }
  context.putImageData(pixels, 0, 0);
  canvas.valueAt = (x, y) => found.classes[at(x, y)]?.label ?? "no class";
}

// A click into a box explains it: the smallest one of those that have a map.
function chooseBox(i, canvas, event) {
  const image = images[i], k = image.size[0] / canvas.clientWidth, x = event.offsetX * k, y = event.offsetY * k;
  const area = (n) => {
    const [a, b, c, d] = image.boxes[image.top[n].index].box;
    return x >= a && x <= c && y >= b && y <= d ? (c - a) * (d - b) : Infinity;
  };
  const [best] = image.top.map((_, n) => n).filter((n) => area(n) < Infinity).sort((m, n) => area(m) - area(n));
  if (best !== undefined) go({ guess: guess.map((old, j) => j === i ? best : old), view: "evidence" });
}

function swatch(color) {
  const node = element("span", { class: "swatch tint" });
  node.style.background = `rgb(${color.join()})`;
  return node;
}

// The classes of a picture's pixels that no evidence is shown for.
function listOthers(image, set) {
  const rest = image.segments.classes.filter((one) => !image.top.some((top) => top.index === one.index)), most = 12;
  if (!rest.length) return;
  set.append(element("p", { class: "hint" }, "Also: ", ...rest.slice(0, most).flatMap((one, n) => [n ? ", " : "", swatch(one.color), ` ${one.label} ${percent(one.share)}`]),
    rest.length > most ? `, and ${rest.length - most} more` : ""));
}

function showView() {
  $("view").value = state.view;
  $("view-label").hidden = !data.live?.boxes && !images.some((image) => image.segments);
  for (const id of ["method-label", "cam-legend"]) $(id).hidden = !methods.length || state.view === "classes";
}
