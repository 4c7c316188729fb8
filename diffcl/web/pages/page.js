// Asks for the page again from time to time and replaces the parts that have changed, but not where somebody works.
// Where nothing comes, the page says so.
"use strict";
let seconds = Number(document.body.dataset.live);
const stale = document.getElementById("stale");
function busy(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}
async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = fresh.getElementById(part.id);
    if (other && !busy(part) && part.outerHTML !== other.outerHTML) part.replaceWith(document.adoptNode(other));
  }
  seconds = Number(fresh.body.dataset.live) || seconds;
  stale.hidden = true;
}
function later() {
  setTimeout(() => refresh().catch(() => { stale.hidden = false; }).finally(later), 1000 * seconds);
}
if (seconds > 0) later();
