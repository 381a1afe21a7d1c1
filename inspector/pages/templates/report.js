// The page of pictures that were computed beforehand: maps lie in the file as sprites.
images.forEach((image, i) => {
  const raw = bytes($(`channels-${i}`).textContent.trim()).buffer;
  let at = 0;
  channelTables[i] = image.layers.map((entry) => {
    const count = entry.shape[0];
    const take = (Type, size) => { const out = new Type(raw.slice(at, at + size * count)); at += size * count; return out; };
    const min = take(Float32Array, 4), max = take(Float32Array, 4);
    const mean = take(Uint16Array, 2), std = take(Uint16Array, 2), zero = take(Uint16Array, 2);
    const single = entry.tile[0] * entry.tile[1] === 1, constant = new Set(entry.blank);
    return { count, min, max, single,
      span: (c) => max[c] - min[c],
      mean: (c) => min[c] + mean[c] / 65535 * (max[c] - min[c]),
      std: (c) => std[c] / 65535 * (max[c] - min[c]),
      zero: (c) => zero[c] / 65535,
      blank: (c) => constant.has(c) };
  });
});

const kept = new Map();
function sprite(i, l) {
  const key = `${i}-${l}`;
  if (!kept.has(key)) {
    if (kept.size > 12) kept.delete(kept.keys().next().value);
    kept.set(key, (async () => {
      const picture = new Image();
      picture.src = "data:image/png;base64," + $(`sprite-${key}`).textContent.trim();
      await picture.decode();
      const canvas = element("canvas", { width: picture.width, height: picture.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      const rgba = context.getImageData(0, 0, picture.width, picture.height).data;
      const levels = new Uint8Array(rgba.length / 4);
      for (let n = 0; n < levels.length; n++) levels[n] = rgba[4 * n];
      return { levels, width: picture.width, height: picture.height };
    })());
  }
  return kept.get(key);
}

const source = { sprite };
images.forEach((_, i) => buildPicture(i));
showMethods();
buildLayers();
fill($("image"), images.map((image, i) => [i, image.name]));
$("image-label").hidden = images.length < 2;
fill($("colormap"), Object.keys(tables).map((name) => [name, name]));
listen();
$("view").addEventListener("change", () => go({ view: $("view").value }));
go({ layer: Math.max(0, layers.findIndex((layer) => layer.kind === "activation")), ...fromAddress() }, true);
