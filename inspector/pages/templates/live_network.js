// The network in pieces, put together as each question needs it: nodes and small constants as protobuf, large weights
// as one block of bytes that every session reads from. What is not asked for is not in the graph that is run.

const varint = (n) => {
  const out = [];
  for (; n >= 128; n = Math.floor(n / 128)) out.push(n % 128 + 128);
  return [...out, n];
};
const utf8 = new TextEncoder();
const field = (number, content) => [...varint(number * 8 + 2), ...varint(content.length), ...content];
const ELEMENTS = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float16: 10, float64: 11 };
// ValueInfoProto of a tensor whose shape is left open.
const valueInfo = (name, type) => field(1, utf8.encode(name)).concat(type ? field(2, field(1, [8, ELEMENTS[type]])) : []);

class Network {
  constructor(ort, about, structure, weights) {
    Object.assign(this, { ort, about, structure, weights });
    this.makerOf = new Map(about.nodes.flatMap((node, n) => node.out.map((name) => [name, n])));
    this.weightOf = new Map(about.weights.map((weight) => [weight.name, weight]));
    this.sessions = new Map();
  }

  // The nodes that tensors depend on, and what is read from outside, not going past `stops`.
  needed(outputs, stops) {
    const nodes = new Set(), outside = new Set(), seen = new Set(), stack = [...outputs];
    while (stack.length) {
      const name = stack.pop();
      if (seen.has(name)) continue;
      seen.add(name);
      const n = stops.has(name) ? undefined : this.makerOf.get(name);
      if (n === undefined) outside.add(name);
      else if (!nodes.has(n)) { nodes.add(n); stack.push(...this.about.nodes[n].in); }
    }
    return { nodes: [...nodes].sort((a, b) => a - b), outside };
  }

  // A ModelProto of the part between some tensors; types: name of an input -> its type.
  assemble(outputs, types) {
    const { nodes, outside } = this.needed(outputs, new Set(types.keys()));
    const piece = ({ at, size }) => this.structure.subarray(at, at + size);
    const parts = nodes.map((n) => [1, piece(this.about.nodes[n])]);
    for (const name of outside) if (this.weightOf.has(name) && !types.has(name)) parts.push([5, piece(this.weightOf.get(name))]);
    for (const [name, type] of types) if (outside.has(name)) parts.push([11, valueInfo(name, type)]);
    for (const name of outputs) parts.push([12, valueInfo(name)]);
    const heads = parts.map(([number, content]) => [...varint(number * 8 + 2), ...varint(content.length)]);
    const length = parts.reduce((sum, [, content], n) => sum + heads[n].length + content.length, 0);
    const start = [...this.about.head, 0x3a, ...varint(length)], out = new Uint8Array(start.length + length);
    out.set(start);
    let at = start.length;
    parts.forEach(([, content], n) => { out.set(heads[n], at); out.set(content, at + heads[n].length); at += heads[n].length + content.length; });
    return { model: out, inputs: [...types.keys()].filter((name) => outside.has(name)) };
  }

  // Runs the part between `feeds` (name -> ort.Tensor) and `outputs`. `slot` names the session, which is kept for the
  // next run of the same part and given up for another.
  async run(slot, outputs, feeds, wanted = outputs) {
    const types = new Map(Object.entries(feeds).map(([name, tensor]) => [name, tensor.type])), key = [...types.keys(), "", ...outputs].join("\n");
    let kept = this.sessions.get(slot);
    if (!kept || kept.key !== key) {
      if (kept) await kept.session.release();
      this.sessions.delete(slot);
      const { model, inputs } = this.assemble(outputs, types);
      const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all", logSeverityLevel: 4, externalData: [{ path: "weights", data: this.weights }] };
      kept = { key, inputs, session: await this.ort.InferenceSession.create(model, options) };
      this.sessions.set(slot, kept);
    }
    return kept.session.run(Object.fromEntries(kept.inputs.map((name) => [name, feeds[name]])), wanted, { logSeverityLevel: 4 });
  }

  async empty() {
    for (const slot of [...this.sessions.keys()]) await this.release(slot);
  }

  async release(slot) {
    const kept = this.sessions.get(slot);
    this.sessions.delete(slot);
    if (kept) await kept.session.release();
  }
}

// The values of a tensor as numbers that can be computed with.
function numbersOf(tensor) {
  const { data, type } = tensor;
  if (type === "float16" && data instanceof Uint16Array) return Float32Array.from(data, fromHalf);
  if (type === "int64" || type === "uint64") return Float32Array.from(data, Number);
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

function fromHalf(h) {
  const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, rest = h & 1023;
  return sign * (exponent === 31 ? (rest ? NaN : Infinity) : exponent ? 2 ** (exponent - 15) * (1 + rest / 1024) : 2 ** -24 * rest);
}

function toHalf(x) { // rounds to nearest, ties to even
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0, size = Math.abs(x);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 2 ** -24))), unit = 2 ** (exponent - 10);
  const steps = roundEven(size / unit); // 1024 or more but below 2 ** -14
  return sign | (steps < 1024 ? steps : ((exponent + 15) << 10) + steps - 1024);
}

// Values in the type that the graph wants.
function tensorFrom(ort, type, values, dims) {
  const made = type === "float16" ? Uint16Array.from(values, toHalf) : type === "float64" ? Float64Array.from(values) : values;
  return new ort.Tensor(type, made, dims);
}
