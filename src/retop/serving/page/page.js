"use strict";

const MOST_AT_ONCE = 3;
const find = (id) => document.getElementById(id);
const percent = (p) => (100 * p).toFixed(p > 0.9995 || p < 0.0995 ? 2 : 1) + " %";
let models = [];
let key = "";
let shown = 0;
const waiting = [];
let running = 0;
let loaded;

function make(kind, options = {}, children = []) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") element.textContent = value;
    else if (name === "onclick") element.addEventListener("click", value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

async function call(path, options = {}) {
  const headers = key ? { Authorization: "Bearer " + key } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error(/[^\x20-\x7e]/.test(key) ? "The key holds characters that no key has." : "The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    find("key-form").hidden = false;
    throw new Error(key ? "The server does not take this key." : "The server asks for a key.");
  }
  let detail;
  try {
    detail = (await response.json()).detail;
  } catch {
    detail = response.statusText;
  }
  if (Array.isArray(detail)) detail = detail.map((item) => item.error || item.msg).join("; ");
  if (response.status === 429) detail = "The server is busy. Try again in " + (response.headers.get("Retry-After") || "a few") + " seconds.";
  throw new Error(String(detail));
}

async function loadModels() {
  try {
    models = (await (await call("v1/models")).json()).models;
  } catch (error) {
    find("state").textContent = error.message;
    return;
  }
  find("key-form").hidden = true;
  find("state").textContent = models.length === 1 ? "1 model" : models.length + " models, side by side";
  find("models").replaceChildren(...models.map((model) => {
    const box = make("input", { type: "checkbox", checked: true, value: model.name, disabled: models.length === 1 });
    const rates = !(model.reject_below > 0) ? "answers always" : "answers from " + percent(model.reject_below) + " on"
      + (model.coverage ? ": " + percent(model.coverage.value) + " of validation images" : "");
    const about = model.classes.length + " classes, validation accuracy " + percent(model.validation_accuracy) + "; " + rates;
    return make("label", { className: "model" }, [box, make("span", {}, [model.name, make("small", { text: about })])]);
  }));
}

function forget() {
  for (const picture of document.querySelectorAll("#results img")) URL.revokeObjectURL(picture.src);
}

function chosenModels() {
  const names = [...document.querySelectorAll("#models input:checked")].map((box) => box.value);
  return models.filter((model) => names.includes(model.name));
}

async function take(files) {
  await loaded;
  for (const file of files) {
    const article = make("article", {}, [make("h2", { text: file.name || "pasted image" })]);
    const picture = make("img", { alt: "" });
    const address = URL.createObjectURL(file);
    picture.addEventListener("error", () => { picture.hidden = true; });
    picture.src = address;
    const answers = make("div", { className: "answers" });
    article.append(picture, answers);
    find("results").prepend(article);
    shown += 1;
    for (const model of chosenModels()) {
      const answer = make("div", { className: "answer" }, [make("h3", { text: model.name }), make("p", { className: "note", text: "…" })]);
      answers.append(answer);
      waiting.push({ file, model, answer });
    }
    if (!chosenModels().length) answers.append(make("p", { className: "problem", text: "No model is chosen." }));
  }
  count();
  work();
}

function count() {
  const left = waiting.length + running;
  find("count").textContent = shown ? shown + (shown === 1 ? " image" : " images") + (left ? ", " + left + " answers to come" : "") : "";
  find("clear").hidden = !shown;
}

function work() {
  while (running < MOST_AT_ONCE && waiting.length) {
    const job = waiting.shift();
    running += 1;
    ask(job).finally(() => { running -= 1; count(); work(); });
  }
}

function body(file) {
  const form = new FormData();
  form.append("images", file, file.name || "pasted");
  return { method: "POST", body: form };
}

async function ask({ file, model, answer }) {
  const place = "v1/models/" + encodeURIComponent(model.name);
  try {
    const found = (await (await call(place + "/predict?top=5", body(file))).json()).predictions[0];
    show(answer, model, file, found);
  } catch (error) {
    answer.replaceChildren(make("h3", { text: model.name }), make("p", { className: "problem", role: "alert", text: error.message }));
  }
}

function bar({ label, probability }) {
  const filled = make("div");
  filled.style.width = 100 * probability + "%";
  return make("div", { className: "track", role: "meter", ariaLabel: label, ariaValueMin: 0, ariaValueMax: 1, ariaValueNow: probability }, [filled]);
}

function show(answer, model, file, found) {
  const said = found.rejected ? "None of these" : found.label;
  const rows = found.top.map((item) => make("div", { className: "row" }, [
    make("span", { text: item.label, title: item.label }), make("span", { text: percent(item.probability) }),
    bar(item),
  ]));
  const limit = model.reject_below > 0 ? "Refuses below " + percent(model.reject_below) + "." : "Never refuses: no threshold is set.";
  const button = make("button", { type: "button", className: "plain", text: "Show what speaks for it", onclick: () => explain(answer, model, file, found, button) });
  answer.replaceChildren(make("h3", { text: model.name }), make("p", { className: found.rejected ? "said refused" : "said", text: said }), ...rows, make("p", { className: "note", text: limit }), button);
}

async function explain(answer, model, file, found, button) {
  button.disabled = true;
  const label = found.top[0].label;
  try {
    const path = "v1/models/" + encodeURIComponent(model.name) + "/heat-map?label=" + encodeURIComponent(label);
    const picture = make("img", { className: "heat", alt: "Heat map: the parts that speak for " + label + " are red" });
    picture.src = URL.createObjectURL(await (await call(path, body(file))).blob());
    button.replaceWith(picture, make("p", { className: "note", text: "Red speaks for " + label + "." }));
  } catch (error) {
    button.replaceWith(make("p", { className: "problem", role: "alert", text: error.message }));
  }
}

function wire() {
  const drop = find("drop");
  find("choose").addEventListener("click", () => find("files").click());
  find("photograph").addEventListener("click", () => find("camera").click());
  for (const id of ["files", "camera"]) {
    find(id).addEventListener("change", (event) => { take([...event.target.files]); event.target.value = ""; });
  }
  for (const kind of ["dragover", "dragenter"]) document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); take([...event.dataTransfer.files]); });
  document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
  find("clear").addEventListener("click", () => { waiting.length = 0; shown = 0; forget(); find("results").replaceChildren(); count(); find("choose").focus(); });
  find("key-form").addEventListener("submit", (event) => { event.preventDefault(); key = find("key").value.trim(); loaded = loadModels(); });
  loaded = loadModels();
}

wire();
