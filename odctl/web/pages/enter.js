// The key stays in this tab, and is told to no other port of this machine, as a cookie would be.
"use strict";
window.sessionStorage.setItem("odctl-key", document.documentElement.dataset.key);
window.location.replace("/");
