// Runs a file with onnxruntime-web: node web.js FILE INPUT SHAPE DATA.json, one JSON object of output name -> numbers.
const fs = require("fs");
const ort = require("onnxruntime-web");
(async () => {
  const [file, input, shape, data] = process.argv.slice(2);
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(fs.readFileSync(file), { executionProviders: ["wasm"] });
  const numbers = Float32Array.from(JSON.parse(fs.readFileSync(data, "utf8")));
  const found = await session.run({ [input]: new ort.Tensor("float32", numbers, shape.split(",").map(Number)) });
  const said = {};
  for (const name of session.outputNames) said[name] = Array.from(found[name].data);
  console.log(JSON.stringify(said));
})();
