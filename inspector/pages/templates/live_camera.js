// The camera: one frame after the other, as fast as the network answers; only what is looked at is computed.
const camera = { stream: null, video: null, name: "camera" };

function listenForCamera() {
  const allowed = Boolean(navigator.mediaDevices?.getUserMedia);
  $("camera-hint").hidden = allowed;
  $("camera").hidden = !allowed;
  $("camera").addEventListener("click", () => camera.stream ? stopCamera() : startCamera());
}

async function startCamera() {
  $("camera").disabled = true; // a second click would open a second stream
  try {
    camera.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    camera.stream.getTracks()[0].addEventListener("ended", stopCamera);
    camera.video = element("video", { muted: true, playsinline: true });
    camera.video.srcObject = camera.stream;
    await camera.video.play();
    if (live.camera < 0) { live.camera = reserveSlot(); live.reserved.delete(live.camera); }
    $("camera").textContent = "Stop the camera";
  } catch (error) { stopCamera(); say(`The camera cannot be used: ${error.message}.`, null, true); }
  finally { $("camera").disabled = false; }
  if (camera.stream) watch(camera.stream);
}

async function watch(stream) {
  const slot = live.camera;
  let first = true, times = [];
  try {
    while (camera.stream === stream) {
      const frame = await createImageBitmap(camera.video), began = performance.now();
      await takeIn(slot, camera.name, await ask("picture", { slot, frame }, [frame]));
      if (first) { await measure(slot, layers.map((_, l) => l)); await settle(slot); }
      else if (state.image === slot) { await measure(slot, [state.layer]); await Promise.all([drawGrid(), drawDetail()]); }
      if (!first) times = [...times.slice(-9), performance.now() - began];
      first = false;
      $("status").dataset.frames = Number($("status").dataset.frames || 0) + 1;
      if (times.length) say(`Watching: ${(1000 * times.length / times.reduce((a, b) => a + b, 0)).toFixed(1)} pictures a second. The chart of all layers is of the first picture until the camera is stopped${state.method === "drise" && state.view !== "classes" ? ", and D-RISE begins then" : ""}.`);
      await new Promise((resolve) => setTimeout(resolve)); // the page comes first
    }
    await measure(slot, layers.map((_, l) => l));
    await settle(slot);
    say(`Ready. The last picture of the camera is kept.`);
  } catch (error) {
    if (camera.stream === stream) stopCamera();
    say(`${error.message}.`, null, true);
  }
  if (!camera.stream && images[slot]?.name !== camera.name) live.camera = -1; // no frame came: the slot is free again
}

function stopCamera() {
  for (const track of camera.stream?.getTracks() ?? []) track.stop();
  camera.stream = null;
  $("camera").textContent = "Turn on the camera";
}
