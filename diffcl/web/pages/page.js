// Asks for the page again from time to time and replaces the parts that have changed, but not where somebody works.
"use strict";
const seconds = Number(document.body.dataset.live);
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = fresh.getElementById(part.id);
      if (other && !part.contains(document.activeElement) && !part.querySelector("details[open]")
          && part.outerHTML !== other.outerHTML) {
        part.replaceWith(other);
      }
    }
    const wanted = Number(fresh.body.dataset.live);
    if (wanted !== seconds) location.reload();
  } catch { /* the server is away for a moment */ }
}
if (seconds > 0) setInterval(refresh, 1000 * seconds);
