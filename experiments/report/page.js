// Plots that follow the page's colours, a key that shows and hides, and tables that sort. No other file is needed.
(() => {
  "use strict";

  const figures = JSON.parse(document.getElementById("figures").textContent);
  const state = { hidden: new Set(), bands: "interval", measure: "reported" };
  const touch = matchMedia("(pointer: coarse)");
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = group => css(`--line-${group % 8}`);

  function isShown({ group, part, measure }) {
    if (state.hidden.has(group)) return false;
    if (measure !== undefined && measure !== state.measure) return false;
    return (part !== "interval" && part !== "range") || part === state.bands;
  }

  function styled(trace) {
    const { group, part } = trace.meta;
    if (trace.type === "heatmap") {
      const bar = { outlinewidth: 0, thickness: 12, tickfont: { color: css("--soft") } };
      return { ...trace, colorscale: [[0, css("--panel")], [1, css("--accent")]], colorbar: bar };
    }
    const tint = part === "front" ? css("--soft") : colour(group);
    const made = { ...trace, visible: isShown(trace.meta), line: { ...trace.line, color: tint } };
    if (trace.marker) made.marker = { ...trace.marker, color: tint, line: { ...trace.marker.line, color: tint } };
    if (trace.error_y) made.error_y = { ...trace.error_y, color: tint };
    if (trace.fill || trace.type === "box") made.fillcolor = tint + "26"; // 15 % opaque
    return made;
  }

  function themed(layout) {
    const axis = given => ({
      ...given,
      title: { ...given.title, font: { size: 12, color: css("--soft") }, standoff: 8 },
      gridcolor: css("--grid"), linecolor: css("--rule"), zerolinecolor: css("--rule"),
      tickfont: { color: css("--soft") }, automargin: true,
    });
    const font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("--ink") };
    return {
      ...layout,
      // Labels that push the sides narrow the plot, which moves the labels, and so on.
      xaxis: { ...axis(layout.xaxis), automargin: "height" }, yaxis: axis(layout.yaxis),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font,
      margin: { l: 48, r: 14, t: 14, b: 44 },
      hoverlabel: { bgcolor: css("--panel"), bordercolor: css("--rule"), font, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--rule"), activecolor: css("--soft") },
      hovermode: "closest", showlegend: false, uirevision: "kept",
      dragmode: touch.matches ? false : "zoom", // a finger scrolls the page
    };
  }

  function draw() {
    for (const place of document.querySelectorAll(".plot")) {
      const { data, layout } = figures[place.dataset.figure];
      Plotly.react(place, data.map(styled), themed(layout), {
        displaylogo: false,
        modeBarButtons: [["toImage", "resetScale2d"]],
        toImageButtonOptions: { format: "svg", filename: place.dataset.figure },
      });
    }
  }

  // Plots take their place's width, also when it changes without the window's.
  const fit = new ResizeObserver(entries => {
    for (const { target } of entries) if (target.data) Plotly.Plots.resize(target);
  });

  function press() {
    for (const key of document.querySelectorAll(".key[data-group]")) {
      key.setAttribute("aria-pressed", String(!state.hidden.has(Number(key.dataset.group))));
    }
    draw();
  }

  for (const key of document.querySelectorAll(".key[data-group]")) {
    const group = Number(key.dataset.group);
    key.addEventListener("click", () => {
      if (!state.hidden.delete(group)) state.hidden.add(group);
      press();
    });
  }
  for (const key of document.querySelectorAll(".key[data-all]")) {
    key.addEventListener("click", () => {
      const groups = [...document.querySelectorAll(".key[data-group]")].map(other => Number(other.dataset.group));
      state.hidden = new Set(state.hidden.size ? [] : groups);
      press();
    });
  }
  for (const choice of document.querySelectorAll("[data-choice]")) {
    state[choice.dataset.choice] = choice.value;
    choice.addEventListener("change", () => {
      state[choice.dataset.choice] = choice.value;
      draw();
    });
  }

  // Numbers sort by their exact values, words as people count (2 before 10); empty cells stay last either way.
  function sortBy(table, column, direction) {
    const valued = [...table.tBodies[0].rows].map(row => {
      const cell = row.cells[column];
      return { row, value: cell.dataset.value ?? cell.textContent.trim() };
    });
    const numeric = valued.every(({ value }) => value === "" || Number.isFinite(Number(value)));
    const compare = numeric
      ? (a, b) => Number(a) - Number(b)
      : (a, b) => a.localeCompare(b, undefined, { numeric: true });
    valued.sort((a, b) => {
      if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
      return direction * compare(a.value, b.value);
    });
    table.tBodies[0].append(...valued.map(({ row }) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        // Numbers start with the largest, words with the first of the alphabet.
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        sortBy(table, column, order === "ascending" ? 1 : -1);
      });
    });
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  for (const place of document.querySelectorAll(".plot")) fit.observe(place);
})();
