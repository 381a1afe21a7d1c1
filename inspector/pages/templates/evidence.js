// The pictures, each with the class activation map that is chosen for it.
const BACKENDS = { onnx: "without torch", twin: "by the torch twin", browser: "computed in this page", file: "an output of the file itself" };

function camOf(i) {
  const top = images[i].top[guess[i]];
  return images[i].cams.find((cam) => cam.method === state.method && cam.class === top?.index);
}

// How many times as large a small picture is drawn, so that what is written on it can be read.
const enlargement = (photo) => Math.max(1, Math.ceil(320 / Math.max(photo.width, photo.height)));

async function drawPicture(i) {
  const canvas = $(`picture-${i}`), photo = photos[i];
  await photo.decode();
  if (source.prepareMap) await source.prepareMap(i);
  const times = enlargement(photo);
  canvas.width = photo.width * times; canvas.height = photo.height * times;
  const context = canvas.getContext("2d", { willReadFrequently: true }), caption = $(`caption-${i}`);
  const pixelwise = state.view === "classes" && images[i].segments, plain = pixelwise || showsObjects(), cam = plain ? null : camOf(i);
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  canvas.valueAt = () => null;
  let told = `${images[i].name}, ${images[i].size.join(" × ")} pixels`;
  if (pixelwise) {
    told += "; the class of each pixel";
    await drawSegments(i, canvas, context);
  }
  if (cam) {
    const k = canvas.width / images[i].size[0], [x0, y0, x1, y1] = cam.box.map((v) => v * k);
    const boxed = cam.inside !== null && cam.inside !== undefined ? `; ${percent(cam.inside)} of the map lies inside the box` : "", what = nameCam(cam);
    told += `; ${cam.method}${cam.layer ? ` at ${cam.layer}` : ""}${cam.by ?? ""}${what ? ` for ${what}` : ""}, ${BACKENDS[cam.backend]}${boxed}`;
    if (cam.empty) told += ": no positive evidence";
    else {
      layOver(context, cam, [x0, y0, x1, y1], tables[state.colormap], state.opacity / 100);
      canvas.valueAt = (x, y) => x < x0 || y < y0 || x >= x1 || y >= y1 ? null : valueOn(cam, (x - x0) / (x1 - x0), (y - y0) / (y1 - y0));
    }
  }
  if (images[i].boxes) drawBoxes(i, context, cam, showsObjects());
  canvas.told = caption.textContent = told;
  canvas.setAttribute("aria-label", told);
  canvas.dataset.drawn = plain ? `classes-${state.opacity}` : `${guess[i]}-${state.method}-${state.opacity}`;
}

// Whether the objects themselves are to be seen, and no map over them.
const showsObjects = () => state.view === "classes" && Boolean(data.live?.boxes);

const nameCam = (cam) => !cam.label || cam.number === null || cam.number === undefined ? cam.label : `box ${cam.number}, ${cam.label}`;

// What can be chosen beside a picture, in words: classes with probabilities, boxes with scores, classes of pixels with shares.
function describeChoices(image) {
  const many = image.boxes ? image.boxes.length : 0;
  if (image.boxes) return many ? `${many} object${many === 1 ? "" : "s"} found${many > image.top.length ? `, the best ${image.top.length} ${data.live ? "listed" : "explained"}` : ""}${!data.live ? "; evidence for" : methods.length ? "; choose one for its evidence" : ""}` : "Nothing found on this picture";
  return image.segments ? `Share of the picture${data.live ? "" : "; evidence for"}` : "Evidence for";
}

function nameChoice(image, top, n) {
  const label = element("span", { class: "name" });
  const segment = image.segments && image.segments.classes.find((one) => one.index === top.index);
  if (segment) label.append(swatch(segment.color), " ");
  label.append(image.boxes ? `${n}: ${top.label}` : top.label);
  const p = top.probability === null || top.probability === undefined ? "" : image.boxes ? `score ${top.probability.toFixed(2)}` : percent(top.probability);
  return [label, element("span", { class: "p" }, p)];
}

function buildPicture(i) {
  const image = images[i];
  const canvas = element("canvas", { id: `picture-${i}`, role: "img" }), caption = element("figcaption", { id: `caption-${i}` });
  const words = describeChoices(image);
  const set = image.top.length ? element("fieldset", {}, element("legend", {}, words)) : element("div", {}, image.boxes ? element("p", { class: "hint" }, words) : "");
  image.top.forEach((top, n) => {
    const radio = element("input", { type: "radio", id: `guess-${i}-${n}`, name: `guess-${i}`, value: n, checked: n === guess[i] });
    radio.addEventListener("change", () => go({ guess: guess.map((old, j) => j === i ? n : old), view: "evidence" }));
    const fill = element("i");
    fill.style.width = 100 * Math.max(0, Math.min(1, top.probability || 0)) + "%";
    set.append(element("label", { class: "guess" }, radio, ...nameChoice(image, top, n), element("span", { class: "meter" }, fill)));
  });
  if (image.segments) listOthers(image, set);
  const save = element("button", { type: "button" }, "Save as PNG");
  save.addEventListener("click", () => store([canvas], canvas.told, `cam-${image.name}`));
  set.append(save);
  const figure = element("figure", { class: "picture", id: `figure-${i}` }, canvas, set, caption), old = $(`figure-${i}`);
  if (old) old.replaceWith(figure); else $("pictures").append(figure);
  canvas.addEventListener("pointermove", (event) => {
    const k = canvas.width / canvas.clientWidth, value = canvas.valueAt(event.offsetX * k, event.offsetY * k);
    caption.textContent = value === null ? canvas.told : `${canvas.told}: ${typeof value === "number" ? value.toFixed(2) : value} here`;
  });
  canvas.addEventListener("pointerleave", () => { caption.textContent = canvas.told; });
  if (image.boxes) canvas.addEventListener("click", (event) => chooseBox(i, canvas, event));
}

function showMethods() {
  fill($("method"), methods.map((m) => [m, m]));
  $("cam-controls").hidden = !methods.length && !data.live?.segments && !data.live?.boxes && !images.some((image) => image.segments);
}
