// Before the script of textual-serve, which reads the address when the page is loaded.
"use strict";
document.getElementById("terminal").dataset.sessionWebsocketUrl = `ws://${window.location.host}/ws`;
document.getElementById("again").addEventListener("click", () => window.location.reload());
