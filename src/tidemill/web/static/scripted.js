// Before the page is drawn: what only serves those without JavaScript can hide itself.
document.documentElement.classList.add("scripted");
