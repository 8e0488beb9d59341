// The page at `/`: pictures of seeds, a walk between two of them, and programs that fetch the same.

import { attributesText, setAttributes, showAttributes } from "./attributes.js";

const MOST_COLUMNS = 10;
const USUAL_PICTURES = 50;
const WALK_FRAMES = 17;
const PAUSE_MS = 60; // a slider that moves fast asks only for where it comes to rest
const UNREACHABLE_S = 3;
const KEPT_TIMES = 20;
const ENDS = ["first", "second"];
const $ = (id) => document.getElementById(id);

let token = sessionStorage.getItem("mirage-token") ?? "";
let tokenGiven = null;
let bundles, mostPictures, bundle;
let pictures = []; // what the gallery shows, as the server describes it
let frames = []; // and the walk
let ends = [NaN, NaN]; // seeds between which the walk leads; none yet
let nextEnd = 0; // which of them the next chosen picture becomes
let shown = null; // what was asked for to get the pictures
const times = [];
const newest = {};

// --- The server ---

async function ask(url, signal, read = "json") {
  for (;;) {
    const started = performance.now();
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    // The time shown shall be the server's, not that of the browser's cache.
    const answer = await fetch(url, { headers, signal, cache: "no-store" }).catch(() => signal?.throwIfAborted());
    if (answer?.ok) {
      const content = await answer[read]();
      signal?.throwIfAborted();
      showTime(performance.now() - started);
      say("");
      return content;
    }
    await remedy(answer, signal);
  }
}

// Does what lets the same be asked again, or throws.
async function remedy(answer, signal) {
  const reason = { 429: "The server has too much to do", 503: "The server isn't ready" }[answer?.status];
  if (!answer) return later("The server can't be reached", UNREACHABLE_S, signal);
  if (reason) return later(reason, Number(answer.headers.get("Retry-After")) || 1, signal);
  if (answer.status === 401) return askForToken();
  const { error } = await answer.json().catch(() => ({}));
  throw new Error(error ?? `The server answered with status ${answer.status}.`);
}

function later(reason, seconds, signal) {
  say(`${reason}; asking again in ${seconds} s.`);
  return wait(1000 * seconds, signal);
}

function wait(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}

function askForToken() {
  $("token-hint").textContent = token ? "That token isn't the right one." : "It is kept until you close this tab.";
  $("token-form").hidden = false;
  $("token").value = "";
  $("token").focus();
  tokenGiven ??= new Promise((resolve) => $("token-form").addEventListener("submit", resolve, { once: true }));
  return tokenGiven;
}

function takeToken() {
  token = $("token").value.trim();
  sessionStorage.setItem("mirage-token", token);
  $("token-form").hidden = true;
  tokenGiven = null;
}

// Runs a task instead of the one before with the same purpose, so that no old answer comes after a newer one.
async function attempt(purpose, task) {
  newest[purpose]?.abort();
  const { signal } = (newest[purpose] = new AbortController());
  $(purpose).setAttribute("aria-busy", true);
  try {
    await task(signal);
  } catch (error) {
    if (signal.aborted) return;
    say(error.message);
  }
  $(purpose).setAttribute("aria-busy", false);
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

function showTime(milliseconds) {
  times.unshift(milliseconds);
  times.length = Math.min(times.length, KEPT_TIMES);
  const median = [...times].sort((a, b) => a - b)[times.length >> 1];
  $("status").textContent = `Answered in ${Math.round(milliseconds)} ms, median ${Math.round(median)} ms`;
}

// --- What to show ---

// What the controls say.
function chosen() {
  const given = [...new FormData($("controls"))].filter(([, value]) => value !== "");
  const attributes = attributesText($("attributes"), bundle.attributes ?? []);
  const query = {
    ...Object.fromEntries(given),
    ...(attributes && { attributes }),
    seed: $("seed").valueAsNumber,
    n: $("n").valueAsNumber,
  };
  const classes = query.label ? 1 : bundle.class_names.length;
  return { ...query, columns: Math.min(query.n, multiple(classes, MOST_COLUMNS)) };
}

// The greatest multiple of a number that isn't more than another; that one if there is none.
function multiple(of, most) {
  return most - (most % (of || 1)) || most;
}

function set(field, value, fallback) {
  field.value = value ?? fallback;
  if (field.selectedIndex < 0 || !field.checkValidity()) field.value = fallback;
}

function readAddress(url) {
  const given = new URLSearchParams(new URL(url).hash.slice(1));
  set($("bundle"), given.get("bundle"), bundles[0].name);
  showBundle();
  const n = multiple(bundle.class_names.length, Math.min(USUAL_PICTURES, mostPictures));
  const usual = { label: "", seed: 0, n, truncation: 1 };
  for (const name of Object.keys(usual)) set($(name), given.get(name), usual[name]);
  setAttributes($("attributes"), bundle.attributes ?? [], given.get("attributes") ?? "");
  return refresh(0, [given.get("from"), given.get("to")].map((text) => Number(text ?? NaN)));
}

function writeAddress() {
  const { columns, ...query } = shown;
  const usual = ends[0] === shown.seed && ends[1] === shown.seed + 1;
  const walk = usual ? {} : { from: ends[0], to: ends[1] };
  history.replaceState(null, "", `#${encoded({ ...query, ...walk })}`);
}

function showBundle() {
  bundle = bundles.find(({ name }) => name === $("bundle").value);
  const [height, width, channels] = bundle.image_shape;
  const { class_names: names, attributes = [] } = bundle;
  $("label").replaceChildren(new Option("all in turn", ""), ...names.map((name) => new Option(name, name)));
  $("label").disabled = $("label-field").hidden = !names.length;
  showAttributes($("attributes"), attributes);
  const told = [names.length && `${names.length} classes`, attributes.length && `${attributes.length} attributes`];
  $("about").textContent = [`${bundle.name}: ${width}×${height} pixels`, ...told.filter(Boolean)].join(", ");
  document.title = `Mirage: ${bundle.name}`;
  document.body.style.setProperty("--ratio", width / height);
  document.body.classList.toggle("transparent", channels === 4);
}

function address(path, query) {
  return new URL(`${path}?${encoded(query)}`, document.baseURI).href;
}

// As an address has it; what needs no code there stays legible.
function encoded(query) {
  return String(new URLSearchParams(query)).replaceAll("%3D", "=").replaceAll("%2C", ",");
}

function walkAddress() {
  const { seed, columns, label, ...rest } = shown;
  const { class_name: name } = pictures.find((each) => each.seed === ends[0]);
  const n = Math.min(WALK_FRAMES, mostPictures);
  return address("v1/interpolate", { ...rest, from: ends[0], to: ends[1], n, ...(name && { label: name }) });
}

// --- Pictures ---

function refresh(pause = 0, wanted = ends) {
  $("truncation-value").textContent = $("truncation").value;
  return attempt("pictures", async (signal) => {
    await wait(pause, signal);
    const query = chosen();
    pictures = (await ask(address("v1/images", { ...query, format: "json" }), signal)).images;
    shown = query;
    const has = (end) => pictures.some(({ seed }) => seed === end);
    if (ends !== wanted || !wanted.every(has)) nextEnd = 0;
    ends = wanted.every(has) ? wanted : [query.seed, query.seed + 1];
    drawGallery();
    refreshWalk();
  });
}

function refreshWalk() {
  const alone = pictures.length < 2;
  $("walk").hidden = $("subject-walk").disabled = alone;
  if (alone) $("subject-pictures").checked = true;
  drawEnds();
  drawSnippet();
  writeAddress();
  return attempt("walk", async (signal) => {
    if (alone) return;
    frames = (await ask(`${walkAddress()}&format=json`, signal)).images;
    resize($("filmstrip"), frames.length).forEach((image, i) => paint(image, frames[i]));
    $("position").max = frames.length - 1;
    drawFrame();
  });
}

// Makes so many children of a template. Those that are there stay: one may have the focus, and new ones would flicker.
function resize(parent, count) {
  while (parent.children.length > count) parent.lastChild.remove();
  while (parent.children.length < count) parent.append($(parent.dataset.template).content.cloneNode(true));
  return [...parent.children];
}

function paint(image, picture) {
  image.src = `data:image/png;base64,${picture.png}`;
}

function drawGallery() {
  const buttons = resize($("gallery"), pictures.length);
  buttons.forEach((button, i) => paint(button.firstChild, pictures[i]));
  keepInTabOrder(buttons[Math.max(0, buttons.indexOf(document.activeElement))]);
  const { columns } = shown;
  // Phones get a half or a third, so that a column still has few classes.
  const narrow = columns < 7 ? columns : ([columns / 2, columns / 3].find(Number.isInteger) ?? 4);
  $("gallery").style.setProperty("--columns", columns);
  $("gallery").style.setProperty("--narrow-columns", narrow);
  document.body.dataset.ready = "";
}

function drawEnds() {
  [...$("gallery").children].forEach((button, i) => {
    const { seed, class_name: name } = pictures[i];
    const end = ENDS[ends.indexOf(seed)];
    button.title = `Seed ${seed}${name ? `, class ${name}` : ""}${end ? `, ${end} of the walk` : ""}`;
    button.dataset.end = end ?? "";
    button.setAttribute("aria-label", button.title);
    button.setAttribute("aria-pressed", Boolean(end));
  });
  $("next").textContent = ENDS[nextEnd];
  const { class_name: name } = pictures.find(({ seed }) => seed === ends[0]);
  $("walk-ends").textContent = `From seed ${ends[0]} to seed ${ends[1]}${name ? `, all of class ${name}` : ""}.`;
}

function drawFrame() {
  const i = $("position").valueAsNumber;
  const place = `${i + 1} of ${frames.length}`;
  paint($("frame"), frames[i]);
  $("frame").alt = `Picture ${place} on the walk`;
  $("position").setAttribute("aria-valuetext", place);
  [...$("filmstrip").children].forEach((image, k) => image.toggleAttribute("data-current", k === i));
  Object.assign($("download-frame"), { href: $("frame").src, download: `mirage-${ends.join("-")}-${i + 1}.png` });
}

// --- Programs and files ---

const PROGRAMS = {
  curl: (url) => `curl --fail -o mirage.png '${url}'`,
  curlWithToken: (url) => `curl --fail -o mirage.png -H "Authorization: Bearer $TOKEN" \\\n  '${url}'`,
  python: (url) => `from urllib.request import urlretrieve\n\nurlretrieve(\n    "${url}",\n    "mirage.png",\n)`,
  pythonWithToken: (url) => `import os
from urllib.request import Request, urlopen

url = "${url}"
request = Request(url, headers={"Authorization": "Bearer " + os.environ["TOKEN"]})
with urlopen(request) as answer, open("mirage.png", "wb") as file:
    file.write(answer.read())`,
};

function drawSnippet() {
  const { subject, language } = Object.fromEntries(new FormData($("snippet-form")));
  const program = PROGRAMS[language + (token ? "WithToken" : "")];
  $("snippet").value = program(subject === "walk" ? walkAddress() : address("v1/images", shown));
  $("snippet").rows = $("snippet").value.split("\n").length;
}

async function copySnippet() {
  $("snippet").select();
  await navigator.clipboard?.writeText($("snippet").value).catch(() => {});
  if (!navigator.clipboard) document.execCommand("copy"); // all that there is without HTTPS
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

function downloadSheet() {
  return attempt("download-sheet", async (signal) => {
    const blob = await ask(address("v1/images", shown), signal, "blob"); // a link could not send the token
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob) });
    link.download = `mirage-${shown.seed}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

// --- What people do ---

function choose(seed) {
  const other = 1 - nextEnd;
  if (ends[other] === seed) ends[other] = ends[nextEnd];
  ends[nextEnd] = seed;
  nextEnd = other;
  refreshWalk();
}

function surprise() {
  $("seed").value = Math.floor(Math.random() * 2 ** 31);
  if (!$("controls").reportValidity()) return;
  history.pushState(null, "", location.href); // the browser's back button shall bring the pictures before back
  refresh();
}

function keepInTabOrder(picture) {
  for (const each of $("gallery").children) each.tabIndex = each === picture ? 0 : -1;
}

function hasModifier(event) {
  return event.ctrlKey || event.altKey || event.metaKey;
}

function pressInGallery(event) {
  const buttons = [...$("gallery").children];
  const columns = getComputedStyle($("gallery")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const here = buttons.indexOf(event.target);
  const there = { Home: 0, End: buttons.length - 1 }[event.key] ?? here + steps[event.key];
  if (Number.isNaN(there) || hasModifier(event)) return;
  event.preventDefault();
  buttons[there]?.focus();
}

function pressAnywhere(event) {
  const typing = event.target.closest("select, textarea, input:not([type=range], [type=radio], [type=checkbox])");
  if (event.key === "s" && !typing && !event.repeat && !hasModifier(event)) $("surprise").click();
}

function listen() {
  $("controls").addEventListener("input", (event) => {
    if (event.target === $("bundle")) showBundle();
    if ($("controls").checkValidity()) refresh(PAUSE_MS);
  });
  $("controls").addEventListener("change", () => $("controls").reportValidity());
  $("surprise").addEventListener("click", surprise);
  $("gallery").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) choose(pictures[[...$("gallery").children].indexOf(button)].seed);
  });
  $("gallery").addEventListener("focusin", ({ target }) => keepInTabOrder(target));
  $("gallery").addEventListener("keydown", pressInGallery);
  $("position").addEventListener("input", () => frames.length && drawFrame());
  $("snippet-form").addEventListener("change", () => shown && drawSnippet());
  $("copy").addEventListener("click", copySnippet);
  $("download-sheet").addEventListener("click", () => shown && downloadSheet());
  document.addEventListener("keydown", pressAnywhere);
  // Not what the address is by now: pictures that arrived meanwhile have written theirs.
  window.addEventListener("hashchange", ({ newURL }) => readAddress(newURL));
}

async function start() {
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  $("token-form").addEventListener("submit", takeToken);
  for (;;) {
    ({ bundles, max_images: mostPictures } = await ask(new URL("v1/bundles", document.baseURI)));
    if (bundles.length) break;
    await later("The server is starting", 1);
  }
  $("bundle").append(...bundles.map(({ name }) => new Option(name)));
  $("bundle").disabled = $("bundle-field").hidden = bundles.length < 2;
  $("seed").max = Number.MAX_SAFE_INTEGER - mostPictures; // beyond, JavaScript's numbers have gaps
  $("seed").min = -$("seed").max;
  $("n").max = mostPictures;
  $("docs").hidden = Boolean(token); // a link could not send it
  $("work").hidden = false;
  listen();
  await readAddress(location.href);
}

start().catch((error) => say(error.message));
