"use strict";
// What the playground's pieces need besides Gradio: reasons that stay inside the window, copying, and keys.
(() => {
  const place = (event) => {
    document.body.classList.remove("hush");
    const mark = event.target instanceof Element && event.target.closest(".sw .claim");
    const why = mark && mark.querySelector(".why");
    if (!why) return;
    why.style.left = "0";
    const box = why.getBoundingClientRect();
    const over = box.right - document.documentElement.clientWidth + 8;
    if (over > 0) why.style.left = -over + "px";
    else if (box.left < 8) why.style.left = 8 - box.left + "px";
  };

  // Without a secure context (another machine's plain http) there is no clipboard to ask for.
  const copied = async (text) => {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };

  const copy = async (button) => {
    const said = button.nextElementSibling;
    const text = document.getElementById(button.dataset.copy).textContent;
    const done = await copied(text).catch(() => false);
    said.textContent = done ? "copied" : "could not be copied; select it";
    button.focus();
    setTimeout(() => { said.textContent = ""; }, 3000);
  };

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest(".sw [data-copy]");
    if (button) copy(button);
  });

  // Ctrl+Enter asks, and checks, from wherever one writes.
  const GO = { question: "go", gold: "go", trace: "check-go", "its-question": "check-go", "its-gold": "check-go" };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.body.classList.add("hush");
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const inside = Object.keys(GO).find((id) => event.target instanceof Element && event.target.closest("#" + id));
    const button = inside && document.getElementById(GO[inside]);
    if (button) {
      event.preventDefault();
      // The text that was just typed reaches Gradio first.
      setTimeout(() => button.click(), 0);
    }
  });
  ["focusin", "mouseover"].forEach((kind) => document.addEventListener(kind, place));
  document.documentElement.dataset.playground = "ready";
})();
