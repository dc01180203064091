
"use strict";
// The page is complete without this: it only asks for the same page again, and puts what is new in place.
(() => {
  const EVERY = 10000, parser = new DOMParser(), live = document.getElementById("live");
  const form = document.getElementById("filter");
  let on = true, asked = 0, timer = 0;

  const note = document.createElement("span");
  const toggle = document.createElement("button");
  note.setAttribute("role", "status");
  toggle.type = "button";
  toggle.addEventListener("click", () => { on = !on; show(); if (on) refresh(); });
  if (document.querySelector("[data-live]")) live.append(note, toggle);
  function show() {
    toggle.textContent = on ? "Pause" : "Refresh";
    toggle.setAttribute("aria-label", on ? "Pause refreshing every 10 seconds" : "Refresh every 10 seconds");
  }

  async function load(url, keep) {
    const mine = ++asked;
    clearTimeout(timer);
    // with a password in the address, only an address without one may be asked
    const bare = new URL(url, document.baseURI);
    bare.username = bare.password = bare.hash = "";
    try {
      const answer = await fetch(bare, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status + " " + answer.statusText);
      const fresh = parser.parseFromString(await answer.text(), "text/html");
      if (mine !== asked) return;
      if (!keep) history.replaceState(null, "", bare.search || bare.pathname);
      place(fresh);
      note.textContent = "";
    } catch (error) {
      if (mine === asked) note.textContent = "Not refreshed: " + error.message;
    }
    if (mine === asked) next();
  }

  function place(fresh) {
    const focused = document.activeElement;
    const again = focused && (focused.id ? "#" + CSS.escape(focused.id)
      : focused.getAttribute("href") && 'a[href="' + CSS.escape(focused.getAttribute("href")) + '"]');
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (!now) continue;
      for (const open of old.querySelectorAll("details[open]")) {
        const same = now.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }
      const held = old.contains(focused);
      old.replaceWith(document.adoptNode(now));
      if (held && again) now.querySelector(again)?.focus({ preventScroll: true });
    }
    document.title = fresh.title;
    const icon = fresh.querySelector("link[rel=icon]");
    if (icon) document.querySelector("link[rel=icon]").href = icon.href;
    const filter = fresh.getElementById("filter");
    for (const field of form && filter ? form.querySelectorAll("[name]") : []) {
      if (field !== document.activeElement) field.value = filter.elements[field.name].value;
    }
    finish();
  }

  function refresh() {
    const selection = getSelection();
    if (document.hidden || (selection && !selection.isCollapsed)) return next();
    load(location.href, true);
  }
  function next() {
    clearTimeout(timer);
    if (on) timer = setTimeout(refresh, EVERY);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && on) refresh(); });

  // What links and the form ask for is put in place too, without leaving the page.
  document.addEventListener("click", event => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    load(link.href).then(() => {
      if (!link.closest("thead")) document.getElementById("units")?.scrollIntoView({ block: "start" });
    });
  });
  if (form) {
    let typing = 0;
    const ask = () => {
      const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
      load("?" + query);
    };
    form.addEventListener("submit", event => { event.preventDefault(); ask(); });
    form.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(ask, 150); });
  }

  function finish() {
    for (const code of document.querySelectorAll("code.cmd")) {
      if (code.nextElementSibling?.className === "copy") continue;
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "copy";
      copy.textContent = "Copy";
      copy.setAttribute("aria-label", "Copy " + code.textContent);
      copy.addEventListener("click", async () => {
        copy.textContent = await put(code) ? "Copied" : "Selected";
        setTimeout(() => { copy.textContent = "Copy"; }, 1500);
      });
      code.after(copy);
    }
    for (const time of document.querySelectorAll("time")) {
      time.title = new Date(time.dateTime).toLocaleString() + " here, " + time.dateTime.replace("T", " ").replace("Z", " UTC");
    }
  }
  async function put(code) {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      // over plain HTTP there is no clipboard
      getSelection().selectAllChildren(code);
      return false;
    }
  }

  show();
  finish();
  next();
})();
