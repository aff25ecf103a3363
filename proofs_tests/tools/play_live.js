"use strict";
/* What docs/play.html shows while it is used. The cards are drawn at once, without their delay. */

const seen = (element) => element.innerText.replace(/\s+/g, " ").trim();
const click = (selector) => document.querySelector(selector).click();
const choose = (name, value) => click(`input[name="${name}"][value="${value}"]`);
const key = (name) => $("network").dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));

function slide(id, value) {
  $(id).value = value;
  $(id).dispatchEvent(new Event("input", { bubbles: true }));
}

function drag_by(weight, pixels) {
  const line = document.querySelector(`[data-weight="${weight}"] line`);
  line.dispatchEvent(new PointerEvent("pointerdown", { clientX: 100, bubbles: true }));
  dispatchEvent(new PointerEvent("pointermove", { clientX: 100 + pixels }));
  dispatchEvent(new PointerEvent("pointerup", {}));
}

function own(text) {
  $("own").open = true;
  $("text").value = text;
  click("#take");
}

function live() {
  const shown = { start: seen($("banner")) };
  slide("cut", 3);
  shown.cut = seen($("cut-text"));
  $("next").focus();
  click("#next");
  shown.focus = document.activeElement.id;
  shown["one shot"] = seen($("banner"));
  shown.red = [$("banner").classList.contains("collapsed"), $("network").classList.contains("collapsed"),
    [...$("network").querySelectorAll("text")].map((text) => text.textContent).find((text) => text.includes("✕"))];
  choose("method", "algorithm-1");
  click("#next");
  click("#next");
  shown["algorithm 1"] = seen($("banner"));
  shown.certificate = [...$("certificate").rows].map(seen);
  draw_cards();
  shown.cards = Object.keys(METHODS).map((name) => `${seen($(`verdict-${name}`))} ${seen($(`critical-${name}`))}`);
  choose("method", "one-shot");
  key("ArrowUp");
  shown.keys = [$("network").ariaLabel.replace("Weight from ", ""), $("network").getAttribute("aria-valuetext")];
  key("ArrowDown");
  key("ArrowRight");
  shown.chosen = $("network").ariaLabel.replace("Weight from ", "");
  drag_by("0,0,1", 24);
  shown.drag = [$("value").value, seen($("score"))];
  slide("value", "1/");
  shown.typed = [$("value").ariaInvalid ?? $("value").getAttribute("aria-invalid")];
  slide("value", "1/3");
  shown.typed.push($("value").value, seen($("score")));
  own("1,1.5.2|1");
  shown.mistake = seen($("wrong"));
  own("1/2,1|1");
  shown.own = [seen($("banner")).slice(0, 7), [...$("weight").options].map(seen).join(" ")];
  choose("method", "certified");
  own("0,0|1");
  shown.refused = seen($("banner")).slice(0, 7);
  return { ...shown, errors: window.errors, loaded: performance.getEntriesByType("resource").length };
}
