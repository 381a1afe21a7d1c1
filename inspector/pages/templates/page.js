// What the page is about, and what is chosen on it. Where its maps come from is `source`, which stands further below:
// in the page of pictures they lie in the file, in the live page the network makes them.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const layers = data.layers, images = data.images, LEVELS = data.levels;
const PAGE = 2048; // channels drawn before "more" is asked for
const state = { image: 0, layer: 0, channel: 0, sort: "number", cls: 0, show: "all", scale: "channel",
  low: 0, high: 6, colormap: "viridis", method: "", opacity: 55, view: "evidence", limit: PAGE };
const guess = images.map(() => 0); // the class whose map each picture shows
const methods = data.methods ?? [...new Set(images.flatMap((image) => image.cams.map((cam) => cam.method)))];
const tables = Object.fromEntries(Object.entries(data.colormaps).map(([k, v]) => [k, bytes(v)]));
const photos = images.map((image) => loadPhoto(image.picture));
const channelTables = []; // for each picture and layer the numbers of every channel
state.method = methods[0] || "";

function loadPhoto(address) {
  const picture = new Image();
  picture.src = address;
  return picture;
}
