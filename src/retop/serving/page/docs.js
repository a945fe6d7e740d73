"use strict";

function cell(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}

async function describe() {
  const description = await (await fetch("openapi.json")).json();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      const table = document.createElement("table");
      const bodies = Object.keys(route.requestBody ? route.requestBody.content : {});
      const rows = [
        ...(route.parameters || []).map((item) => [item.name + " (" + item.in + ")", item.description || ""]),
        ...(bodies.length ? [["body", bodies.join(", ")]] : []),
        ...Object.entries(route.responses).map(([status, item]) => [status, item.description]),
      ];
      for (const [name, text] of rows) {
        const row = document.createElement("tr");
        row.append(cell("th", name), cell("td", text));
        table.append(row);
      }
      document.getElementById("routes").append(cell("h2", method.toUpperCase() + " " + path), cell("p", route.summary || ""), table);
    }
  }
}

describe();
