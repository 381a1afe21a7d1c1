// What networks make that is neither classes nor objects: a vector, or a picture (inspector/render/objects.py, to_picture).
function readMade(tensor, { vector, last }, batch) {
  const all = numbersOf(tensor), values = all.subarray(0, all.length / batch);
  if (vector) return { vector: Array.from(values) };
  const dims = tensor.dims.slice(1), [planes, height, width] = dims.length === 2 ? [1, ...dims] : last ? [dims[2], dims[0], dims[1]] : dims;
  let low = Infinity, high = -Infinity;
  for (const v of values) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) [low, high] = [0, 1];
  if (planes > 1) [low, high] = [[0, 1], [-1, 1], [0, 255]].find(([a, b]) => a - 0.1 * b <= low && high <= 1.1 * b) ?? [low, high];
  const pixels = new Uint8ClampedArray(4 * height * width), count = height * width;
  for (let n = 0; n < count; n++)
    for (let c = 0; c < 4; c++) {
      const plane = Math.min(c, planes - 1), value = (values[last ? n * planes + plane : plane * count + n] - low) / (high - low || 1);
      pixels[4 * n + c] = c === 3 ? 255 : roundEven(255 * Math.max(0, Math.min(1, value || 0)));
    }
  return { pixels, width, height, low, high };
}
