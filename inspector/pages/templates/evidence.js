// The pictures, each with the class activation map that is chosen for it.
function camOf(i) {
  const top = images[i].top[guess[i]];
  return top && images[i].cams.find((cam) => cam.method === state.method && cam.class === top.index);
}

async function drawPicture(i) {
  const canvas = $(`picture-${i}`), photo = photos[i];
  await photo.decode();
  canvas.width = photo.width; canvas.height = photo.height;
  const context = canvas.getContext("2d", { willReadFrequently: true }), cam = camOf(i), caption = $(`caption-${i}`);
  context.drawImage(photo, 0, 0);
  canvas.valueAt = () => null;
  let told = `${images[i].name}, ${images[i].size.join(" × ")} pixels`;
  if (cam) {
    const k = photo.width / images[i].size[0], [x0, y0, x1, y1] = cam.box.map((v) => v * k);
    told += `; ${cam.method} at ${cam.layer} for ${cam.label}, ${cam.backend === "onnx" ? "without torch" : "by the torch twin"}`;
    if (cam.empty) told += ": no positive evidence";
    else {
      layOver(context, cam, [x0, y0, x1, y1], tables[state.colormap], state.opacity / 100);
      canvas.valueAt = (x, y) => x < x0 || y < y0 || x >= x1 || y >= y1 ? null : valueOn(cam, (x - x0) / (x1 - x0), (y - y0) / (y1 - y0));
    }
  }
  if (cam && cam.found) outline(context, cam.found.map((v) => v * photo.width / images[i].size[0])); // the box that the map is of
  canvas.told = caption.textContent = told;
  canvas.setAttribute("aria-label", told);
  canvas.dataset.drawn = `${guess[i]}-${state.method}-${state.opacity}`;
}

function buildPicture(i) {
  const image = images[i];
  const canvas = element("canvas", { id: `picture-${i}`, role: "img" }), caption = element("figcaption", { id: `caption-${i}` });
  const set = image.top.length ? element("fieldset", {}, element("legend", {}, "Evidence for")) : element("div");
  image.top.forEach((top, n) => {
    const radio = element("input", { type: "radio", id: `guess-${i}-${n}`, name: `guess-${i}`, value: n, checked: n === 0 });
    radio.addEventListener("change", () => go({ guess: guess.map((old, j) => j === i ? n : old) }));
    const fill = element("i");
    fill.style.width = 100 * Math.max(0, Math.min(1, top.probability || 0)) + "%";
    set.append(element("label", { class: "guess" }, radio, element("span", { class: "name" }, top.label),
      element("span", { class: "p" }, percent(top.probability)), element("span", { class: "meter" }, fill)));
  });
  const save = element("button", { type: "button" }, "Save as PNG");
  save.addEventListener("click", () => store([canvas], canvas.told, `cam-${image.name}`));
  set.append(save);
  $("pictures").append(element("figure", { class: "picture" }, canvas, set, caption));
  canvas.addEventListener("pointermove", (event) => {
    const k = canvas.width / canvas.clientWidth, value = canvas.valueAt(event.offsetX * k, event.offsetY * k);
    caption.textContent = value === null ? canvas.told : `${canvas.told}: ${value.toFixed(2)} here`;
  });
  canvas.addEventListener("pointerleave", () => { caption.textContent = canvas.told; });
}

function showMethods() {
  fill($("method"), methods.map((m) => [m, m]));
  $("cam-controls").hidden = !methods.length;
}
