// Shows openapi.json and sends requests by it. Everything is set as text: nothing in the document can become markup.
"use strict";

const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// words between backticks are code
function prose(tag, text) {
  return make(tag, {}, ...(text || "").split("`").map((part, n) => n % 2 ? make("code", { textContent: part }) : part));
}

function nameOf(schema) {
  if (!schema || Object.keys(schema).length === 0) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  for (const word of ["anyOf", "oneOf", "allOf"]) if (schema[word]) return schema[word].map(nameOf).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((item) => JSON.stringify(item)).join(" | ");
  if (schema.type === "array") return `list of ${nameOf(schema.items)}`;
  if (schema.contentMediaType) return "file";
  return [].concat(schema.type || "object").join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

function bounds(schema) {
  const words = { minimum: "≥", maximum: "≤", exclusiveMinimum: ">", exclusiveMaximum: "<", minLength: "at least",
    maxLength: "at most", minItems: "at least", maxItems: "at most", pattern: "pattern", default: "default" };
  return Object.entries(words).filter(([key]) => schema[key] !== undefined)
    .map(([key, word]) => `${word} ${typeof schema[key] === "string" ? schema[key] : JSON.stringify(schema[key])}`)
    .join(", ");
}

function fieldRows(rows) {
  const table = make("table");
  for (const { name, schema, required, where, description } of rows) {
    table.append(make("tr", {},
      make("td", {}, make("code", { textContent: name }), required ? " *" : ""),
      make("td", { textContent: [where, nameOf(schema), bounds(schema)].filter(Boolean).join(" · ") }),
      prose("td", description || schema.description)));
  }
  return table;
}

function modelTable(schema) {
  const required = new Set(schema.required || []);
  return fieldRows(Object.entries(schema.properties || {}).map(([name, own]) =>
    ({ name, schema: own, required: required.has(name) })));
}

// a value to begin with, for the body of a request
function sample(schema, all, depth = 0) {
  if (!schema || depth > 4) return null;
  if (schema.$ref) return sample(all[nameOf(schema)], all, depth + 1);
  if (schema.examples) return schema.examples[0];
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choice = schema.anyOf || schema.oneOf || schema.allOf;
  if (choice) return sample(choice[0], all, depth + 1);
  if (schema.properties) {
    const wanted = Object.entries(schema.properties).filter(([name]) => (schema.required || []).includes(name));
    return Object.fromEntries(wanted.map(([name, own]) => [name, sample(own, all, depth + 1)]));
  }
  return { array: [], boolean: false, integer: schema.minimum || 0, number: 0, object: {}, string: "" }[schema.type] ?? null;
}

function tryOut(method, path, operation, all) {
  const inputs = (operation.parameters || []).map((parameter) => 
    ({ parameter, input: make("input", { placeholder: (parameter.schema.examples || []).join(", ") }) }));
  const content = operation.requestBody ? operation.requestBody.content : {};
  const json = content["application/json"];
  const form = json ? null : content["multipart/form-data"];
  const body = json
    ? make("textarea", { spellcheck: false, value: JSON.stringify(sample(json.schema, all), null, 2) }) : null;
  const formFields = form ? Object.entries(all[nameOf(form.schema)].properties).map(([name, own]) =>
    ({ name, input: make("input", { type: nameOf(own) === "file" ? "file" : "text" }) })) : [];
  const result = make("pre", { hidden: true });
  const send = make("button", { type: "button", textContent: `Send ${method.toUpperCase()}` });

  send.addEventListener("click", async () => {
    let target = path;
    const query = new URLSearchParams();
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value !== "") for (const value of nameOf(parameter.schema).startsWith("list of")
        ? input.value.split(",") : [input.value]) query.append(parameter.name, value);
    }
    if ([...query].length) target += `?${query}`;
    const headers = {};
    if (byId("key").value) headers.Authorization = `Bearer ${byId("key").value}`;
    const request = { method: method.toUpperCase(), headers };
    if (body) { headers["Content-Type"] = "application/json"; request.body = body.value; }
    if (form) {
      request.body = new FormData();
      for (const { name, input } of formFields) {
        if (input.type === "file" && input.files.length) request.body.append(name, input.files[0]);
        else if (input.type !== "file" && input.value !== "") request.body.append(name, input.value);
      }
    }
    result.hidden = false;
    result.textContent = "…";
    try {
      const response = await fetch(target, request);
      const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`);
      result.textContent = `${response.status} ${response.statusText}\n${lines.join("\n")}\n\n`;
      const reader = response.body ? response.body.pipeThrough(new TextDecoderStream()).getReader() : null;
      let text = "";
      for (let part = reader && await reader.read(); part && !part.done; part = await reader.read()) {
        text += part.value;
        result.append(part.value); // a stream is shown as it comes
      }
      try { result.lastChild && text && showPretty(result, text); } catch { /* no JSON: shown as it is */ }
    } catch (error) {
      result.textContent = `no answer: ${error.message}`;
    }
  });

  const rows = inputs.map(({ parameter, input }) => make("label", {}, `${parameter.name} `, input));
  const fields = formFields.map(({ name, input }) => make("label", {}, `${name} `, input));
  return make("div", {}, ...rows, ...fields, body, send, result);
}

function showPretty(result, text) {
  const pretty = JSON.stringify(JSON.parse(text), null, 2);
  result.textContent = result.textContent.slice(0, result.textContent.length - text.length) + pretty;
}

function operationBox(method, path, operation, all) {
  const scopes = (operation.security || []).flatMap((item) => item.bearer || []);
  const parameters = (operation.parameters || []).map((found) =>
    ({ name: found.name, schema: found.schema, required: found.required, where: found.in, description: found.description }));
  const bodies = Object.entries((operation.requestBody || { content: {} }).content);
  const inner = make("div", {}, operation.description ? prose("p", operation.description) : null);
  if (parameters.length) inner.append(make("h4", { textContent: "Parameters" }), fieldRows(parameters));
  for (const [kind, { schema }] of bodies) {
    inner.append(make("h4", { textContent: `Body: ${kind}, ${nameOf(schema)}` }), modelTable(all[nameOf(schema)] || schema));
  }
  const answers = make("table");
  for (const [status, answer] of Object.entries(operation.responses)) {
    const found = Object.entries(answer.content || {}).map(([kind, { schema }]) => {
      const data = schema.properties ? schema.properties.data : null;
      return data ? nameOf(data) : schema.$ref ? nameOf(schema) : kind;
    });
    answers.append(make("tr", {}, make("td", {}, make("code", { textContent: status })),
      make("td", { textContent: found.join(", ") }), prose("td", answer.description)));
  }
  inner.append(make("h4", { textContent: "Answers" }), answers, make("h4", { textContent: "Try it" }));
  inner.append(tryOut(method, path, operation, all));
  const box = make("details", {}, make("summary", {},
    make("span", { class: `method ${method}`, textContent: method.toUpperCase() }), make("code", { textContent: path }),
    ` ${operation.summary || ""}`,
    make("span", { class: "needs", textContent: scopes.length ? `needs ${scopes[0]}` : "public" })), inner);
  box.dataset.words = `${path} ${operation.summary || ""} ${operation.description || ""}`.toLowerCase();
  return box;
}

async function show() {
  const api = await (await fetch("openapi.json")).json();
  const all = api.components.schemas;
  byId("version").textContent = api.info.version;
  byId("about").replaceWith(prose("p", api.info.description));
  const routes = byId("routes");
  routes.replaceChildren();
  for (const { name } of api.tags) {
    const section = make("section", {}, make("h2", { textContent: name }));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (operation.tags.includes(name)) section.append(operationBox(method, path, operation, all));
      }
    }
    routes.append(section);
  }
  for (const [name, schema] of Object.entries(all)) {
    byId("schemas").append(make("details", { id: name }, make("summary", {}, make("code", { textContent: name })),
      make("div", {}, schema.description ? prose("p", schema.description) : null,
        schema.properties ? modelTable(schema) : make("p", { textContent: nameOf(schema) }))));
  }
  byId("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const box of routes.querySelectorAll("details")) box.hidden = !box.dataset.words.includes(wanted);
  });
}

show().catch((error) => { byId("routes").textContent = `openapi.json cannot be shown: ${error.message}`; });
