// Makes a sheet of pictures with sampler.onnx, without Python.
//
//   npm install && node sample.mjs path/to/bundle sheet.png [seed] [class, or attributes such as male=1,age=30]

import { readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deflateSync } from "node:zlib";

// Imported after this, onnxruntime sends no reports to its maker.
process.env.ORT_DISABLE_TELEMETRY ??= "1";
const { default: ort } = await import("onnxruntime-node");

const COLUMNS = 10;
const ROWS = 6;

// Uint8 pictures, one after the other, of seeds, and of labels or of attributes: all of each picture's, in order.
export async function sample(session, model, seeds, given, truncation = 1) {
  const feeds = { seed: new ort.Tensor("int64", BigInt64Array.from(seeds, BigInt), [seeds.length]) };
  if (model.attributes) {
    const shape = [given.length, model.attributes.length];
    feeds.attributes = new ort.Tensor("float32", Float32Array.from(given.flat()), shape);
  } else if (model.conditional) {
    feeds.label = new ort.Tensor("int64", BigInt64Array.from(given, BigInt), [given.length]);
  }
  feeds.truncation = new ort.Tensor("float32", Float32Array.of(truncation), []);
  return (await session.run(feeds)).pixels.data;
}

export async function load(bundle) {
  const { model } = JSON.parse(readFileSync(join(bundle, "manifest.json"), "utf8"));
  const session = await ort.InferenceSession.create(withoutDefault(readFileSync(join(bundle, "sampler.onnx"))));
  return { model, session };
}

// onnxruntime-node ignores inputs that may be left out, as truncation may. So its default, an initializer of the graph,
// is taken out of the file: fields 7, 5 and 8 of ModelProto, GraphProto and TensorProto (onnx.proto).
function withoutDefault(bytes) {
  const isDefault = (tensor) => [...fields(tensor)].some(([n, , at, end]) => n === 8 && `${tensor.subarray(at, end)}` === "truncation");
  const parts = [...fields(bytes)].flatMap(([number, start, at, end]) => {
    if (number !== 7) return [bytes.subarray(start, end)];
    const graph = bytes.subarray(at, end);
    const kept = [...fields(graph)].filter(([n, , from, to]) => n !== 5 || !isDefault(graph.subarray(from, to)));
    const content = Buffer.concat(kept.map(([, from, , to]) => graph.subarray(from, to)));
    return [Buffer.from([(7 << 3) | 2, ...varint(content.length)]), content];
  });
  return Buffer.concat(parts);
}

// The fields of a protobuf message: number, start, start of the value, end.
function* fields(bytes) {
  for (let at = 0; at < bytes.length; ) {
    const start = at;
    const read = () => {
      let value = 0;
      for (let unit = 1; ; unit *= 128) {
        value += (bytes[at] & 127) * unit;
        if (bytes[at++] < 128) return value;
      }
    };
    const tag = read();
    const size = [() => (read(), 0), () => 8, read, , , () => 4][tag & 7]();
    yield [Math.floor(tag / 8), start, at, (at += size)];
  }
}

function varint(value) {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}

// The attributes of a picture in order, of a text such as male=1,age=30; what it leaves out is typical.
export function attributesOf(model, text = "") {
  const values = new Map(model.attributes.map(({ name, typical }) => [name, typical]));
  const parts = text.match(/.+?=[^,]+(?:,|$)/g) ?? []; // names may have commas
  if (parts.join("") !== text) throw new Error(`attributes are "${text}"; expected such as male=1,age=30.`);
  for (const part of parts) {
    const [, name, value] = part.match(/^(.*)=([^,]+),?$/);
    const known = model.attributes.find((each) => each.name === name);
    if (!known) throw new Error(`there is no attribute "${name}"; there are ${[...values.keys()].join(", ")}.`);
    if (!(value >= known.low && value <= known.high)) {
      throw new Error(`${name} is ${value}; expected a number from ${known.low} to ${known.high}.`);
    }
    values.set(name, Number(value));
  }
  return [...values.values()];
}

// The check that ends each part of a PNG (www.w3.org/TR/png, annex D).
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

// Lays pictures out as a sheet, and encodes it as PNG (www.w3.org/TR/png).
function png(pixels, [height, width, channels], columns) {
  const rows = Math.ceil(pixels.length / (height * width * channels * columns));
  const stride = columns * width * channels;
  const lines = Buffer.alloc(rows * height * (stride + 1)); // a filter byte, 0, begins each line
  for (let y = 0; y < rows * height; y++) {
    for (let x = 0; x < columns; x++) {
      const picture = Math.floor(y / height) * columns + x;
      const from = (picture * height + (y % height)) * width * channels;
      lines.set(pixels.subarray(from, from + width * channels), y * (stride + 1) + 1 + x * width * channels);
    }
  }
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(columns * width, 0);
  header.writeUInt32BE(rows * height, 4);
  header.set([8, { 1: 0, 3: 2, 4: 6 }[channels], 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(lines)), chunk("IEND", Buffer.alloc(0))]);
}

// Node knows a module by its real path, whatever link it was called by.
if (process.argv[1] && fileURLToPath(import.meta.url) === realpathSync(process.argv[1])) {
  const [bundle, out, seed = "0", chosen] = process.argv.slice(2);
  if (!out) {
    console.error("error: expected a bundle and a .png file; as in node sample.mjs bundles/digits sheet.png 7 3");
    process.exit(1);
  }
  const { model, session } = await load(bundle);
  const seeds = Array.from({ length: COLUMNS * ROWS }, (_, i) => BigInt(seed) + BigInt(i));
  const told = (i) =>
    model.attributes ? attributesOf(model, chosen) : (chosen ?? i % Math.max(1, model.class_names.length));
  let given;
  try {
    given = seeds.map((_, i) => told(i));
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exit(1);
  }
  const started = performance.now();
  const pixels = await sample(session, model, seeds, given);
  const milliseconds = (performance.now() - started) / seeds.length;
  writeFileSync(out, png(pixels, model.image_shape, COLUMNS));
  console.log(`${out}: ${seeds.length} pictures, ${milliseconds.toFixed(2)} ms each`);
}
