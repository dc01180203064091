
"use strict";
// The page is complete without this script, which only fetches the page again and replaces its live parts.
(() => {
  const REFRESH_INTERVAL_MS = 10000, parser = new DOMParser(), live = document.getElementById("live");
  const form = document.getElementById("filter");
  let on = true, requests = 0, timer = 0;

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
    const request = ++requests;
    clearTimeout(timer);
    // fetch() rejects a URL with credentials
    const bare = new URL(url, document.baseURI);
    bare.username = bare.password = bare.hash = "";
    try {
      const response = await fetch(bare, { cache: "no-store" });
      if (!response.ok) throw new Error(response.status + " " + response.statusText);
      const fresh = parser.parseFromString(await response.text(), "text/html");
      if (request !== requests) return;
      if (!keep) history.replaceState(null, "", bare.search || bare.pathname);
      replace(fresh);
      note.textContent = "";
    } catch (error) {
      if (request === requests) note.textContent = "Refresh failed: " + error.message;
    }
    if (request === requests) next();
  }

  function replace(fresh) {
    const focused = document.activeElement;
    const selector = focused && (focused.id ? "#" + CSS.escape(focused.id)
      : focused.getAttribute("href") && 'a[href="' + CSS.escape(focused.getAttribute("href")) + '"]');
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (!now) continue;
      for (const open of old.querySelectorAll("details[open]")) {
        const same = now.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }
      const hadFocus = old.contains(focused);
      old.replaceWith(document.adoptNode(now));
      if (hadFocus && selector) now.querySelector(selector)?.focus({ preventScroll: true });
    }
    document.title = fresh.title;
    const icon = fresh.querySelector("link[rel=icon]");
    if (icon) document.querySelector("link[rel=icon]").href = icon.href;
    const filter = fresh.getElementById("filter");
    for (const field of form && filter ? form.querySelectorAll("[name]") : []) {
      if (field !== document.activeElement) field.value = filter.elements[field.name].value;
    }
    decorate();
  }

  function refresh() {
    const selection = getSelection();
    if (document.hidden || (selection && !selection.isCollapsed)) return next();
    load(location.href, true);
  }
  function next() {
    clearTimeout(timer);
    if (on) timer = setTimeout(refresh, REFRESH_INTERVAL_MS);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && on) refresh(); });

  // Links and the form replace the live parts too, without leaving the page.
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
    const submit = () => {
      const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
      load("?" + query);
    };
    form.addEventListener("submit", event => { event.preventDefault(); submit(); });
    form.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(submit, 150); });
  }

  function decorate() {
    for (const code of document.querySelectorAll("code.cmd")) {
      if (code.nextElementSibling?.className === "copy") continue;
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "copy";
      copy.textContent = "Copy";
      copy.setAttribute("aria-label", "Copy " + code.textContent);
      copy.addEventListener("click", async () => {
        copy.textContent = await copyText(code) ? "Copied" : "Selected";
        setTimeout(() => { copy.textContent = "Copy"; }, 1500);
      });
      code.after(copy);
    }
    for (const time of document.querySelectorAll("time")) {
      time.title = new Date(time.dateTime).toLocaleString() + " local time, " + time.dateTime.replace("T", " ").replace("Z", " UTC");
    }
  }
  async function copyText(code) {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      // browsers offer no clipboard over plain HTTP
      getSelection().selectAllChildren(code);
      return false;
    }
  }

  show();
  decorate();
  next();
})();
