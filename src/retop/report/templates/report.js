"use strict";
(() => {
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const legendRow = 30;
  const narrow = matchMedia("(max-width: 760px)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // Colours of a figure are names; the page's colour scheme says what they mean.
  function coloured(value) {
    if (value === "@shades") return [[0, colour("page")], [0.05, colour("grid")], [1, colour("series0")]];
    if (typeof value === "string" && value.startsWith("@")) return colour(value.slice(1));
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item)]));
    return value;
  }

  // Plotly cuts a title off that is longer than its axis.
  function wrapped(text, most) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const line = lines[lines.length - 1];
      if (line && line.length + 1 + word.length > most) lines.push(word);
      else lines[lines.length - 1] = line ? `${line} ${word}` : word;
    }
    return lines.join("<br>");
  }

  function draw(place) {
    const spec = coloured(payload.figures[place.dataset.figure]);
    const room = place.clientWidth;
    const longest = Math.max(0, ...spec.data.filter((t) => t.orientation === "h" || t.error_x).flatMap((t) => t.y || []).map((y) => String(y).length));
    if (narrow.matches || longest * 7 > room / 2) {
      spec.layout.font.size = 11;
      spec.layout.xaxis.nticks = 5;
      spec.layout.yaxis.tickfont = { size: longest * 6 > room / 2 ? 9 : 11 };
    }
    const title = spec.layout.xaxis.title;
    if (title) title.text = wrapped(title.text, (room - longest * 6) / 7);
    const height = Number(place.dataset.height ||= place.clientHeight);
    spec.layout.height = height;
    spec.layout.width = room;
    Plotly.react(place, spec.data, spec.layout, {
      displaylogo: false, displayModeBar: narrow.matches ? false : "hover",
      toImageButtonOptions: { format: "svg", filename: place.dataset.figure },
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
    // Heights are for one row of legend; where it needs more, the figure grows instead of being squeezed.
    const legend = place.querySelector(".legend .bg");
    const grown = height + Math.max(0, (legend ? legend.getBoundingClientRect().height : 0) - legendRow);
    place.style.height = `${grown}px`;
    if (grown > height) Plotly.relayout(place, { height: grown });
  }

  const places = [...document.querySelectorAll("[data-figure]")];
  function drawAll() { places.filter((place) => place.clientWidth).forEach(draw); }
  function drawInTurn(rest) {
    if (!rest.length) {
      for (const place of places.filter((one) => one.dataset.contender))
        place.on("plotly_click", (event) => open(place.dataset.contender, event.points[0].pointIndex.join(",")));
      document.documentElement.dataset.drawn = String(places.length);
      return;
    }
    draw(rest[0]);
    setTimeout(drawInTurn, 0, rest.slice(1));
  }

  for (const image of document.querySelectorAll("img[data-thumb]")) image.src = payload.thumbnails[image.dataset.thumb];

  const dialog = document.querySelector("dialog");
  function open(contender, cell) {
    const found = payload.cells[contender] && payload.cells[contender][cell];
    if (!found) return;
    dialog.querySelector("h3").textContent = found.title;
    const more = found.count > found.images.length ? `, the ${found.images.length} most confident of them` : "";
    dialog.querySelector("p").textContent = `${found.count} image${found.count === 1 ? "" : "s"}${more}`;
    const list = dialog.querySelector("ul");
    list.replaceChildren(...found.images.map(([thumb, path, confidence]) => {
      const item = document.createElement("li");
      if (thumb === null) {
        const missing = item.appendChild(document.createElement("span"));
        missing.className = "missing";
        missing.textContent = "not shown";
      } else {
        const image = item.appendChild(document.createElement("img"));
        image.src = payload.thumbnails[thumb];
        image.alt = path;
      }
      item.append(`${confidence} sure `);
      const name = item.appendChild(document.createElement("span"));
      name.className = "path";
      name.textContent = path;
      return item;
    }));
    dialog.showModal();
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-cell]");
    if (button) open(button.dataset.contender, button.dataset.cell);
    if (event.target === dialog) dialog.close();
  });

  drawInTurn(places);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  let resizing;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(drawAll, 150); });
})();
