"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = {
    get() { try { return localStorage.getItem("theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("theme", value); } catch { /* a page from a file may not keep anything */ } },
  };
  if (kept.get()) root.dataset.theme = kept.get();

  function theme() {
    const button = document.getElementById("theme");
    const current = () => root.dataset.theme || (dark.matches ? "dark" : "light");
    const name = () => { button.textContent = current() === "dark" ? "Light" : "Dark"; };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      kept.set(root.dataset.theme);
      name();
    });
    dark.addEventListener("change", name);
    name();
  }

  function tabs() {
    const list = document.querySelector(".tabs ul");
    if (!list) return;
    const all = [...list.querySelectorAll("a")];
    const panel = (tab) => document.getElementById(tab.hash.slice(1));
    list.setAttribute("role", "tablist");
    list.closest("nav").removeAttribute("aria-label");
    list.closest("nav").setAttribute("role", "presentation");
    list.setAttribute("aria-label", "Sections");
    for (const tab of all) {
      tab.parentElement.setAttribute("role", "presentation");
      tab.setAttribute("role", "tab");
      tab.id = `tab-${tab.hash.slice(1)}`;
      tab.setAttribute("aria-controls", tab.hash.slice(1));
      panel(tab).setAttribute("role", "tabpanel");
    }
    function show(chosen) {
      for (const tab of all) {
        tab.setAttribute("aria-selected", String(tab === chosen));
        tab.tabIndex = tab === chosen ? 0 : -1;
        panel(tab).hidden = tab !== chosen;
      }
      chosen.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    const named = () => all.find((tab) => tab.hash === location.hash) || all[0];
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-tab]");
      if (!link) return;
      event.preventDefault();
      history.replaceState(null, "", link.hash);
      show(named());
      scrollTo(0, 0);
      if (!link.closest(".tabs")) named().focus();
    });
    list.addEventListener("keydown", (event) => {
      const at = all.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      const tab = all[(to + all.length) % all.length];
      tab.focus();
      tab.click();
    });
    addEventListener("hashchange", () => show(named()));
    show(named());
  }

  function points() {
    const tip = document.getElementById("tip");
    function tell(point) {
      tip.textContent = point.getAttribute("aria-label");
      tip.hidden = false;
      const mark = (point.querySelector("use") || point).getBoundingClientRect();
      const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
      tip.style.left = `${Math.max(8, Math.min(room, mark.x + mark.width / 2 - tip.offsetWidth / 2))}px`;
      const above = mark.y - tip.offsetHeight - 8;
      tip.style.top = `${above > 4 ? above : mark.bottom + 8}px`;
    }
    const hush = () => { tip.hidden = true; };
    for (const drawing of document.querySelectorAll(".drawing")) {
      const all = [...drawing.querySelectorAll(".point")].sort((a, b) => a.id.split("-p").pop() - b.id.split("-p").pop());
      for (const point of all) {
        point.addEventListener("pointerenter", () => tell(point));
        point.addEventListener("pointerleave", hush);
        point.addEventListener("focus", () => tell(point));
        point.addEventListener("blur", hush);
      }
      drawing.addEventListener("keydown", (event) => {
        if (event.key === "Escape") hush();
        const seen = all.filter((point) => !point.classList.contains("gone"));
        const at = seen.indexOf(document.activeElement);
        const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: seen.length - 1 }[event.key];
        if (at < 0 || to === undefined) return;
        event.preventDefault();
        const point = seen[(to + seen.length) % seen.length];
        for (const other of all) other.setAttribute("tabindex", other === point ? "0" : "-1");
        point.focus();
      });
    }
    for (const button of document.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        const drawing = button.closest(".plot").querySelector(".drawing");
        const shown = button.getAttribute("aria-pressed") === "false";
        button.setAttribute("aria-pressed", String(shown));
        for (const mark of drawing.querySelectorAll(`.series-${button.dataset.series}`)) mark.classList.toggle("gone", !shown);
        const seen = [...drawing.querySelectorAll(".point:not(.gone)")];
        for (const other of drawing.querySelectorAll(".point")) other.setAttribute("tabindex", other === seen[0] ? "0" : "-1");
      });
    }
  }

  function tables() {
    for (const filters of document.querySelectorAll(".filters")) {
      const shown = document.getElementById(filters.dataset.for);
      const items = [...(shown.tBodies ? shown.tBodies[0].rows : shown.children)];
      const word = shown.tBodies ? "rows" : "pictures";
      const value = (item, select) => (shown.tBodies ? item.cells[select.dataset.column].textContent.trim() : item.dataset.kind);
      const count = filters.querySelector("[data-count]");
      filters.addEventListener("input", () => {
        const words = (filters.querySelector("[data-search]")?.value || "").toLowerCase().split(/\s+/).filter(Boolean);
        const chosen = [...filters.querySelectorAll("select")].filter((select) => select.value);
        let seen = 0;
        for (const item of items) {
          const text = item.textContent.toLowerCase();
          const fits = words.every((word) => text.includes(word))
            && chosen.every((select) => value(item, select) === select.value);
          item.hidden = !fits;
          seen += fits;
        }
        count.textContent = seen === items.length ? `${seen} ${word}` : `${seen} of ${items.length} ${word}`;
      });
    }
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => {
        const head = button.closest("th");
        const body = head.closest("table").tBodies[0];
        const falling = head.getAttribute("aria-sort") === "ascending";
        for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const order = (row) => { const cell = row.cells[button.dataset.sort]; return cell.dataset.order ?? cell.textContent.trim(); };
        const figure = (text) => (text === "-" ? -Infinity : Number(text));
        const compare = (a, b) => {
          const [x, y] = [figure(a), figure(b)];
          return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
        };
        const sorted = [...body.rows].sort((a, b) => compare(order(a), order(b)));
        body.append(...(falling ? sorted.reverse() : sorted));
      });
    }
  }

  document.addEventListener("DOMContentLoaded", () => { theme(); tabs(); points(); tables(); });
})();
