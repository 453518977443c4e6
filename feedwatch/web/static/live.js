// Keeps the parts marked data-live fresh. Everything works without it.
"use strict";
const SECONDS = 10;
const parts = () => document.querySelectorAll("[data-live]");

function refresh(part, fresh) {
  if (part.innerHTML === fresh.innerHTML) return;
  const field = document.activeElement;
  if (part.contains(field) && field.matches("input")) return; // somebody is typing there
  const focused = part.contains(field) ? field.id : "";
  const open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
  fresh.querySelectorAll("[autofocus]").forEach((one) => one.removeAttribute("autofocus"));
  part.replaceChildren(...fresh.childNodes);
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (focused) (document.getElementById(focused) ?? document.getElementById("main")).focus();
}

async function tick() {
  if (document.hidden) return;
  const address = new URL(location.href);
  for (const name of ["did", "n", "id", "next"]) address.searchParams.delete(name);
  try {
    const answer = await fetch(address, { redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts()) {
      const fresh = page.getElementById(part.id);
      if (fresh) refresh(part, fresh);
    }
  } catch {
    // The next tick tries again.
  }
}

if (parts().length) setInterval(tick, SECONDS * 1000);
