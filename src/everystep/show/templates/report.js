"use strict";
// Unpacks the records of the page and shows those that are asked for. Text goes into text nodes only.
(() => {
  const PAGE = 6;
  const TRUTHS = ["true", "false", "unknown"];
  const SPOKEN = ["holds", "false", "not checkable"];
  const CHANGES = { "01": "fixed", "10": "broken", "00": "still wrong", "11": "still right" };
  const SIGNS = { fixed: "▲", broken: "▼", "still wrong": "✗", "still right": "✓" };
  const at = (id) => document.getElementById(id);
  const make = (name, classes, text) => {
    const one = document.createElement(name);
    if (classes) one.className = classes;
    if (text !== undefined) one.textContent = text;
    return one;
  };
  let data = null, shown = [], page = 0, serial = 0;

  const unpack = async () => {
    const packed = Uint8Array.from(atob(at("records").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return JSON.parse(await new Response(stream).text());
  };

  const choices = (id, values, labels) => {
    values.forEach((value, i) => {
      const option = make("option", "", labels ? labels[i] : String(value));
      option.value = String(value);
      at(id).append(option);
    });
  };

  const claim = (piece) => {
    const mark = make("mark", "claim " + TRUTHS[piece[1]], piece[0]);
    if (piece.length === 2) return mark; // goes on with the claim before it
    const why = make("span", "why", SPOKEN[piece[1]] + ": " + piece[3]);
    why.id = "why-" + (serial += 1);
    why.setAttribute("role", "tooltip");
    mark.tabIndex = 0;
    mark.setAttribute("role", "mark");
    mark.setAttribute("aria-describedby", why.id);
    mark.append(make("span", "sign", piece[2]), why);
    return mark;
  };

  // A reason near the edge of the window is moved back into it.
  const place = (event) => {
    document.body.classList.remove("hush");
    const mark = event.target instanceof Element && event.target.closest(".claim");
    const why = mark && mark.querySelector(".why");
    if (!why) return;
    why.style.left = "0";
    const box = why.getBoundingClientRect();
    const over = box.right - document.documentElement.clientWidth + 8;
    const under = 8 - box.left;
    if (over > 0) why.style.left = -over + "px";
    else if (under > 0) why.style.left = under + "px";
  };

  const side = (stage, record) => {
    const [name, file] = data.stages[stage];
    const box = make("div", "side");
    if (!record) {
      box.append(make("h4", "", name), make("p", "evidence", "this stage has not done the task"));
      return box;
    }
    const [line, right, kind, evidence, verdict, tokens, pieces] = record;
    box.classList.add(right ? "ok" : "no");
    const head = make("h4", "", name + ": ");
    head.append(make("span", right ? "right" : "wrong", right ? "✓ right in form" : "✗ " + data.classes[kind]));
    const trace = make("p", "trace");
    trace.dir = "auto";
    pieces.forEach((piece) => trace.append(typeof piece === "string" ? piece : claim(piece)));
    if (!pieces.length) trace.append(make("span", "soft", "(nothing)"));
    const why = make("p", "evidence");
    why.append(make("b", "", data.classes[kind]), ": " + evidence);
    const meta = make("p", "meta");
    const link = make("a", "", file + ", line " + line);
    link.href = "../" + file;
    meta.append(make("span", "", "answer " + verdict), make("span", "", tokens + " tokens"), link);
    box.append(head, trace, why, meta);
    return box;
  };

  const change = (task) => {
    const [a, b] = [task[5][before()], task[5][after()]];
    return a && b ? CHANGES["" + a[1] + b[1]] : "";
  };
  const before = () => Number(at("f-before").value);
  const after = () => Number(at("f-after").value);

  const card = (task) => {
    const box = make("article", "task");
    box.id = "task-" + task[0];
    const title = make("h3", "", task[3]);
    title.dir = "auto";
    title.id = box.id + "-q";
    box.setAttribute("aria-labelledby", title.id);
    const meta = make("p", "meta");
    const became = change(task);
    if (became) meta.append(make("span", "badge " + became, SIGNS[became] + " " + became));
    meta.append(make("span", "", task[1]), make("span", "", task[2] ? "level " + task[2] : "no level"));
    const gold = make("span", "", "gold: ");
    gold.append(make("b", "", task[4]));
    const link = make("a", "", "#" + task[0]);
    link.href = "#" + encodeURIComponent(box.id);
    link.setAttribute("aria-label", "Link to this task, " + task[0]);
    meta.append(gold, link);
    const sides = make("div", "sides");
    [...new Set([before(), after()])].forEach((stage) => sides.append(side(stage, task[5][stage])));
    box.append(title, meta, sides);
    return box;
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    serial = 0;
    at("tasks").replaceChildren(...shown.slice(page * PAGE, page * PAGE + PAGE).map(card));
    document.querySelectorAll(".where").forEach((one) => { one.textContent = "page " + (page + 1) + " of " + pages; });
    document.querySelectorAll(".prev").forEach((one) => { one.disabled = page === 0; });
    document.querySelectorAll(".next").forEach((one) => { one.disabled = page === pages - 1; });
  };

  const filter = () => {
    const [domain, level, kind, was, became] = ["f-domain", "f-level", "f-class", "f-was", "f-change"].map((id) => at(id).value);
    const words = at("f-text").value.trim().toLowerCase();
    const holds = (task) => {
      const [first, last] = [task[5][before()], task[5][after()]];
      return (!domain || task[1] === domain) && (!level || String(task[2]) === level)
        && (!kind || (last && String(last[2]) === kind)) && (!was || (first && String(first[2]) === was))
        && (!became || change(task) === became) && (!words || text(task).includes(words));
    };
    shown = data.tasks.filter(holds);
    page = 0;
    at("count").textContent = shown.length + " of " + data.tasks.length + " tasks";
    draw();
  };

  const texts = new Map();
  const text = (task) => {
    if (!texts.has(task)) {
      const own = task[5].flatMap((record) => record ? record[6].map((p) => (typeof p === "string" ? p : p[0])) : []);
      texts.set(task, [task[0], task[3], task[4], own.join("")].join("\n").toLowerCase());
    }
    return texts.get(task);
  };

  const reset = () => {
    ["f-domain", "f-level", "f-class", "f-was", "f-change", "f-text"].forEach((id) => { at(id).value = ""; });
    filter();
  };

  // A link to a task opens the page that it is on.
  const jump = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    if (!id.startsWith("task-")) return;
    let where = shown.findIndex((task) => "task-" + task[0] === id);
    if (where < 0) {
      reset();
      where = shown.findIndex((task) => "task-" + task[0] === id);
    }
    if (where < 0) return;
    page = Math.floor(where / PAGE);
    draw();
    at(id).scrollIntoView();
  };

  const start = async () => {
    data = await unpack();
    const names = data.stages.map((stage) => stage[0]);
    ["f-before", "f-after"].forEach((id) => choices(id, names.map((_, i) => i), names));
    at("f-after").value = String(names.length - 1);
    choices("f-domain", [...new Set(data.tasks.map((task) => task[1]))].sort());
    choices("f-level", [...new Set(data.tasks.map((task) => task[2]))].sort((a, b) => a - b));
    ["f-class", "f-was"].forEach((id) => choices(id, data.classes.map((_, i) => i), data.classes));
    document.querySelectorAll(".filters select").forEach((one) => one.addEventListener("change", filter));
    let waiting = 0;
    at("f-text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); });
    at("reset").addEventListener("click", reset);
    document.querySelectorAll(".prev, .next").forEach((one) => one.addEventListener("click", () => {
      page += one.classList.contains("next") ? 1 : -1;
      draw();
      if (one.parentElement.previousElementSibling === at("tasks")) at("count").scrollIntoView();
    }));
    document.querySelectorAll("[data-class]").forEach((one) => one.addEventListener("click", () => {
      reset();
      at("f-class").value = one.dataset.class;
      filter();
      at("work").scrollIntoView();
      at("f-class").focus({ preventScroll: true });
    }));
    // Escape puts a reason away without moving the focus, until something else is pointed at.
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") document.body.classList.add("hush"); });
    ["focusin", "mouseover"].forEach((kind) => document.addEventListener(kind, place));
    at("app").hidden = false;
    filter();
    jump();
    window.addEventListener("hashchange", jump);
    document.documentElement.dataset.ready = "yes";
  };

  start().catch((error) => {
    const told = make("p", "warn", "The records could not be unpacked in this browser: " + error);
    at("work").append(told);
  });
})();
