// Before the page is drawn: what only serves those without JavaScript can hide itself. And whoever goes back before htmx
// has come up gets the list that belongs to the address, not the one that happens to stand there.
document.documentElement.classList.add("scripted");
addEventListener("popstate", (event) => { if (event.state?.htmx) location.reload(); });
