// Asks for the page again from time to time and replaces the parts that have changed, but not where somebody works.
// Where other parts come, all of the page is replaced, and where nothing comes, it says so.
"use strict";
let seconds = Number(document.body.dataset.live);
function busy(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}
function names(page) {
  return [...page.querySelectorAll("[data-part]")].map((part) => part.id).join();
}
async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = document.getElementById("main");
  if (names(fresh) !== names(document) && !busy(main)) main.replaceWith(document.adoptNode(fresh.getElementById("main")));
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = fresh.getElementById(part.id);
    if (other && !busy(part) && part.outerHTML !== other.outerHTML) part.replaceWith(document.adoptNode(other));
  }
  seconds = Number(fresh.body.dataset.live) || seconds;
  document.getElementById("stale").hidden = true;
}
function later() {
  setTimeout(() => refresh().catch(() => { document.getElementById("stale").hidden = false; }).finally(later), 1000 * seconds);
}
if (seconds > 0) later();
