import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { attributeValues, showAttributes } from "./attributes.js";
import { between, latent, toPixels } from "./latents.js";

const COLUMNS = 10;
const WALK_STEPS = 10;
const $ = (id) => document.getElementById(id);

window.addEventListener("unhandledrejection", (event) => {
  $("status").textContent = `This page can't run here: ${event.reason?.message ?? event.reason}`;
});

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("./ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };

const { model } = await (await fetch("model.json")).json();
const [height, width, channels] = model.image_shape;
const sampler = await ort.InferenceSession.create("sampler.onnx");
const generator = await ort.InferenceSession.create("generator.onnx");

// What pictures shall be of, as the models take it: a label for each, or a list of all its attributes in order.
function condition(given) {
  if (!model.conditional) return {};
  if (!model.attributes) return { label: new ort.Tensor("int64", BigInt64Array.from(given, BigInt), [given.length]) };
  const shape = [given.length, model.attributes.length];
  return { attributes: new ort.Tensor("float32", Float32Array.from(given.flat()), shape) };
}

// Uint8 pictures, one after the other, of seeds (BigInts), and labels or attributes.
export async function sample(seeds, given, truncation = 1) {
  const feeds = {
    seed: new ort.Tensor("int64", BigInt64Array.from(seeds), [seeds.length]),
    truncation: new ort.Tensor("float32", [truncation], []),
    ...condition(given),
  };
  return (await sampler.run(feeds)).pixels.data;
}

// The same of latents. Truncation acts upon them, or upon the styles that the generator makes of them.
export async function decode(latents, given, truncation = 1) {
  const z = new Float32Array(latents.length * model.latent_dim);
  const factor = model.styles ? 1 : Math.fround(truncation);
  latents.forEach((each, i) => z.set(each.map((value) => factor * value), i * model.latent_dim));
  const feeds = { z: new ort.Tensor("float32", z, [latents.length, model.latent_dim]), ...condition(given) };
  if (model.styles) feeds.truncation = new ort.Tensor("float32", [truncation], [1]);
  return toPixels((await generator.run(feeds)).image.data, model.alpha);
}

function draw(canvas, pixels, columns) {
  const size = height * width * channels;
  const count = pixels.length / size;
  canvas.width = columns * width;
  canvas.height = Math.ceil(count / columns) * height;
  const context = canvas.getContext("2d");
  for (let i = 0; i < count; i++) {
    const picture = context.createImageData(width, height);
    for (let p = 0; p < height * width; p++) {
      const from = i * size + p * channels;
      for (let c = 0; c < 3; c++) picture.data[4 * p + c] = pixels[from + (channels === 1 ? 0 : c)];
      picture.data[4 * p + 3] = channels === 4 ? pixels[from + 3] : 255;
    }
    context.putImageData(picture, (i % columns) * width, Math.floor(i / columns) * height);
  }
}

// The number in a field as a BigInt; anything else counts as 0.
function seedIn(id) {
  return /^-?\d+$/.test($(id).value) ? BigInt.asIntN(64, BigInt($(id).value)) : 0n;
}

function chosenClass() {
  return Number($("class").value || -1);
}

// What the controls say that picture i shall be of.
function chosen(i) {
  if (model.attributes) return attributeValues($("attributes"));
  return chosenClass() < 0 ? i % Math.max(1, model.class_names.length) : chosenClass();
}

async function drawSheet() {
  const classes = model.class_names.length;
  const inTurn = classes > 0 && chosenClass() < 0 && classes <= COLUMNS;
  const columns = inTurn ? classes : COLUMNS;
  const count = columns * (inTurn ? 5 : 4);
  const seeds = Array.from({ length: count }, (_, i) => BigInt.asIntN(64, seedIn("seed") + BigInt(i)));
  const started = performance.now();
  const pixels = await sample(seeds, seeds.map((_, i) => chosen(i)), Number($("truncation").value));
  const milliseconds = (performance.now() - started) / count;
  draw($("sheet"), pixels, columns);
  $("status").textContent = `${height}x${width} pixels, ${milliseconds.toFixed(2)} ms per picture`;
}

async function drawWalk() {
  const law = model.latent_distribution;
  const ends = ["first", "last"].map((end) => latent(seedIn(end), model.latent_dim, law));
  const given = chosen(0);
  const truncation = Number($("truncation").value);
  const at = (t) => between(ends[0], ends[1], t, law);
  const places = Array.from({ length: WALK_STEPS }, (_, i) => at(i / (WALK_STEPS - 1)));
  draw($("walk"), await decode(places, places.map(() => given), truncation), WALK_STEPS);
  draw($("step"), await decode([at(Number($("position").value))], [given], truncation), 1);
}

// Draws at most once at a time, and once more if something changed meanwhile.
function lazily(task) {
  let running = false;
  let again = false;
  return async () => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      await task();
    } while (again);
    running = false;
  };
}

const updateSheet = lazily(drawSheet);
const updateWalk = lazily(drawWalk);

showAttributes($("attributes"), model.attributes ?? []);
if (model.class_names.length) {
  const names = ["each in turn", ...model.class_names];
  $("class").append(...names.map((name, i) => new Option(name, String(i - 1))));
} else {
  $("class-field").hidden = true;
}
document.body.classList.toggle("transparent", channels === 4);
document.body.style.setProperty("--ratio", width / height);
$("title").textContent = document.title = `Mirage: ${model.name}`;
$("controls").addEventListener("input", () => {
  $("truncation-value").textContent = $("truncation").value;
  updateSheet();
  updateWalk();
});
$("walk-controls").addEventListener("input", updateWalk);
$("position").addEventListener("input", updateWalk);
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
$("surprise").addEventListener("click", () => {
  $("seed").value = Math.floor(Math.random() * 1e9);
  updateSheet();
});
$("download").addEventListener("click", () => {
  $("sheet").toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `mirage-${$("seed").value}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
});

await updateSheet();
await updateWalk();
document.body.dataset.ready = "true";
window.mirage = { sample, decode, model }; // for the browser's console, and for tests
