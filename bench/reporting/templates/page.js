"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  root.classList.add("js");
  // The page's state is its address: everything that was chosen is a part of it.
  const hash = location.hash.slice(1);
  const state = new URLSearchParams(hash.includes("=") ? hash : "");
  const keep = (key, value) => {
    if (value) state.set(key, value); else state.delete(key);
    const text = state.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  };

  // --- light and dark
  const theme = $("theme");
  const isDark = () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    return (root.dataset.theme || system) === "dark";
  };
  const named = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.hidden = false;
  if (state.get("theme")) root.dataset.theme = state.get("theme");
  named();
  theme.onclick = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep("theme", root.dataset.theme);
    named();
  };

  // --- claims
  const filters = $("claim-filters");
  if (filters) {
    const rows = [...$("claim-table").tBodies[0].rows];
    const inputs = { verdict: $("verdict"), metric: $("metric"), words: $("words") };
    const show = () => {
      const wanted = inputs.words.value.toLowerCase();
      let count = 0;
      for (const row of rows) {
        const { verdict, metric } = row.dataset;
        row.hidden = Boolean(inputs.verdict.value && verdict !== inputs.verdict.value)
          || Boolean(inputs.metric.value && metric !== inputs.metric.value)
          || !row.textContent.toLowerCase().includes(wanted);
        count += row.hidden ? 0 : 1;
      }
      $("claim-count").textContent = `${count} of ${rows.length} lines`;
    };
    for (const [key, input] of Object.entries(inputs)) {
      input.value = state.get(key) || "";
      input.addEventListener("input", () => { keep(key, input.value); show(); });
    }
    filters.onsubmit = (event) => event.preventDefault();
    filters.hidden = false;
    show();
  }

  // --- leaderboard
  const board = $("board");
  const heads = [...board.tHead.querySelectorAll("th[data-key]")];
  const started = new Map([...board.tBodies].map((body) => [body, [...body.rows]]));
  const valueOf = (row, key) => {
    const cell = row.querySelector(`td[data-key="${key}"]`);
    return cell && "value" in cell.dataset ? Number(cell.dataset.value) : null;
  };
  const sort = (key, order) => {
    for (const th of heads) {
      if (th.dataset.key === key && order) th.setAttribute("aria-sort", order);
      else th.removeAttribute("aria-sort");
    }
    const sign = order === "ascending" ? 1 : -1;
    for (const [body, rows] of started) {
      const sorted = [...rows];
      if (order) {
        sorted.sort((a, b) => {
          const [x, y] = [valueOf(a, key), valueOf(b, key)];
          if (x === null || y === null) return Number(x === null) - Number(y === null);
          return sign * (x - y);
        });
      }
      body.append(...sorted);
    }
    keep("sort", order ? key : "");
    keep("order", order === "ascending" ? order : "");
  };
  const following = { descending: "ascending", ascending: "" };
  for (const th of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = th.textContent;
    button.onclick = () => {
      const now = th.getAttribute("aria-sort");
      sort(th.dataset.key, now ? following[now] : "descending");
    };
    th.replaceChildren(button);
  }
  if (heads.some((th) => th.dataset.key === state.get("sort"))) {
    sort(state.get("sort"), state.get("order") || "descending");
  }

  // --- columns
  const chooser = $("chooser");
  const boxes = [...chooser.querySelectorAll("input")];
  const checked = () => boxes.filter((b) => b.checked).map((b) => b.value).join(",");
  const first = checked();
  const columns = () => {
    for (const box of boxes) {
      for (const cell of board.querySelectorAll(`[data-key="${box.value}"]`)) {
        cell.classList.toggle("more", !box.checked);
      }
    }
    keep("columns", checked() === first ? "" : checked() || "none");
  };
  if (state.get("columns")) {
    const wanted = state.get("columns").split(",");
    for (const box of boxes) box.checked = wanted.includes(box.value);
    columns();
  }
  for (const box of boxes) box.onchange = columns;
  chooser.hidden = false;

  // --- study by study
  const source = $("browser-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const element = (name, text = "", kind = "") => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const shows = $("shows"), study = $("study");
  const names = Object.keys(data.rows);
  const findings = [...new Set(data.studies.flatMap((s) => s.shows))].sort();
  for (const name of findings) shows.append(new Option(name));
  const asked = (state.get("rows") || "").split(",").filter((n) => names.includes(n));
  const picked = new Set(asked.length ? asked.slice(0, 4) : data.first);
  const sentences = (report) => data.reports[report].map((i) => data.sentences[i]);
  // The sides on which a report names each finding; "" where it says none.
  const told = (report) => {
    const found = new Map();
    for (const [, seen, side] of sentences(report)) {
      for (const name of seen) found.set(name, (found.get(name) || "") + side);
    }
    return found;
  };
  const mark = ([, seen, side], other, absent) => {
    if (!seen.length) return "";
    if (seen.some((name) => !other.has(name))) return absent;
    const wrong = side && seen.some((name) => {
      const there = other.get(name);
      return there && ![...side].some((letter) => there.includes(letter));
    });
    return wrong ? "side" : "right";
  };
  const text = (title, report, other, absent) => {
    const article = element("article"), paragraph = element("p");
    article.append(element("h3", title), paragraph);
    for (const sentence of sentences(report)) {
      const kind = mark(sentence, other, absent);
      const span = element("span", sentence[0], kind ? `m ${kind}` : "");
      if (kind) span.title = kind === "side" ? "wrong side" : kind;
      paragraph.append(span, " ");
    }
    return article;
  };
  const films = (at) => at.films.map(([view, address], number) => {
    const holder = element("div", "", "film"), image = element("img");
    image.src = address;
    image.alt = `${view} film of ${at.id}`;
    holder.append(image);
    for (const [name, where, x0, y0, x1, y1] of $("boxes").checked ? at.boxes : []) {
      if (where !== number) continue;
      const box = element("div", "", "box");
      const place = { left: x0, top: y0, width: x1 - x0, height: y1 - y0 };
      for (const [key, share] of Object.entries(place)) box.style[key] = `${100 * share}%`;
      box.append(element("span", name));
      holder.append(box);
    }
    return holder;
  });
  const draw = () => {
    const number = Number(study.value), at = data.studies[number];
    if (!at) return;
    keep("study", at.id);
    $("films").replaceChildren(...films(at));
    const reference = told(at.report), said = new Map();
    const shown = names.filter((n) => picked.has(n));
    for (const name of shown) {
      for (const [k, v] of told(data.rows[name][number])) said.set(k, (said.get(k) || "") + v);
    }
    $("texts").replaceChildren(
      text("Reference", at.report, said, "missed"),
      ...shown.map((name) => text(name, data.rows[name][number], reference, "invented")),
    );
  };
  for (const name of names) {
    const label = element("label"), box = element("input");
    box.type = "checkbox";
    box.value = name;
    box.checked = picked.has(name);
    box.onchange = () => {
      if (box.checked && picked.size >= 4) { box.checked = false; return; }
      if (box.checked) picked.add(name); else picked.delete(name);
      keep("rows", [...picked].join(","));
      draw();
    };
    label.append(box, ` ${name}`);
    $("pick").append(label);
  }
  const fill = () => {
    const fitting = data.studies.map((s, i) => [s, i])
      .filter(([s]) => !shows.value || s.shows.includes(shows.value));
    study.replaceChildren(...fitting.map(([s, i]) => new Option(s.id, i)));
  };
  const move = (by) => {
    const next = study.selectedIndex + by;
    if (next >= 0 && next < study.length) { study.selectedIndex = next; draw(); }
  };
  $("previous").onclick = () => move(-1);
  $("next").onclick = () => move(1);
  $("boxes").onchange = draw;
  $("boxed").hidden = !data.studies.some((s) => s.boxes.length);
  study.onchange = draw;
  shows.onchange = () => { fill(); keep("shows", shows.value); draw(); };
  $("studies").addEventListener("keydown", (event) => {
    if (event.target.matches("select, input[type=search]")) return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) { move(by); event.preventDefault(); }
  });
  $("study-filters").onsubmit = (event) => event.preventDefault();
  if (findings.includes(state.get("shows"))) shows.value = state.get("shows");
  fill();
  const at = [...study.options].findIndex((o) => o.text === state.get("study"));
  if (at >= 0) study.selectedIndex = at;
  $("browser").hidden = false;
  draw();
})();
