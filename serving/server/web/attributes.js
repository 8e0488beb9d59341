// Controls for a generator's attributes: a switch for each binary one, a slider for each number, all typical at first.
// Depends on nothing; the page of an exported bundle has this file too.

// Makes the controls, in place of those that were there.
export function showAttributes(group, attributes) {
  group.hidden = !attributes.length;
  group.replaceChildren(...attributes.map((each) => (each.kind === "binary" ? switchOf(each) : sliderOf(each))));
  if (!attributes.length) return;
  const reset = Object.assign(document.createElement("button"), { type: "button", textContent: "Typical" });
  reset.addEventListener("click", () => {
    setAttributes(group, attributes, "");
    group.dispatchEvent(new Event("input", { bubbles: true }));
  });
  group.append(reset);
  setAttributes(group, attributes, "");
}

// What isn't typical, as addresses and command lines have it: such as male=1,age=30; empty if all is typical.
export function attributesText(group, attributes) {
  const values = attributeValues(group);
  return attributes.flatMap(({ name, typical }, i) => (values[i] === typical ? [] : [`${name}=${values[i]}`])).join(",");
}

// The values of all attributes, in order.
export function attributeValues(group) {
  return inputsOf(group).map((input) => (input.type === "checkbox" ? Number(input.checked) : Number(input.dataset.value)));
}

// Sets what a text names, as `attributesText` makes it, and all else to what is typical; leaves out what can't be.
export function setAttributes(group, attributes, text) {
  const values = parsed(text);
  inputsOf(group).forEach((input, i) => {
    const { name, low, high, typical } = attributes[i];
    const given = values.get(name);
    const value = given >= low && given <= high ? given : typical;
    if (input.type === "checkbox") input.checked = value >= 0.5;
    else showNumber(input, value);
  });
}

function parsed(text) {
  const values = new Map();
  let name = "";
  for (const part of text.split(",")) {
    const at = part.lastIndexOf("=");
    if (at < 0) {
      name += `${part},`; // names may have commas
      continue;
    }
    values.set(name + part.slice(0, at), part.slice(at + 1).trim() === "" ? NaN : Number(part.slice(at + 1)));
    name = "";
  }
  return values;
}

function inputsOf(group) {
  return [...group.querySelectorAll("input")];
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function switchOf({ name }) {
  const input = element("input", { type: "checkbox" });
  input.setAttribute("role", "switch");
  return element("label", { className: "field switch" }, element("span", {}, name), input);
}

function sliderOf({ name, low, high }) {
  const input = element("input", { type: "range", min: low, max: high, step: "any", ariaLabel: name });
  const label = element("label", { className: "field" }, element("span", {}, `${name} `, element("output")), input);
  // Three digits of the whole range are as fine as a slider is.
  const digits = Math.min(100, Math.max(0, 2 - Math.floor(Math.log10(high - low))));
  input.addEventListener("input", () => {
    const rounded = Number(input.valueAsNumber.toFixed(digits));
    showNumber(input, Math.min(high, Math.max(low, rounded)), false);
  });
  return label;
}

// The value is kept beside the slider, which may have a coarser one.
function showNumber(input, value, move = true) {
  input.dataset.value = value;
  if (move) input.value = value;
  input.parentElement.querySelector("output").textContent = Number(value.toPrecision(6));
  input.setAttribute("aria-valuetext", Number(value.toPrecision(6)));
}
