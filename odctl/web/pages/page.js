// Before the script of textual-serve, which reads the address of the socket when the page is loaded. The key stands in
// it: a tab has it from the address that is good once, or asks the other tabs of this very server.
"use strict";
const terminal = document.getElementById("terminal");
const tabs = new BroadcastChannel("odctl-key");
let key = window.sessionStorage.getItem("odctl-key");

function start() {
  window.sessionStorage.setItem("odctl-key", key);
  document.body.classList.remove("-stranger");
  terminal.dataset.sessionWebsocketUrl = `ws://${window.location.host}/ws/${key}`;
  const script = document.createElement("script");
  script.src = "/assets/textual.js";
  script.addEventListener("load", () => {
    if (document.readyState === "complete") window.onload();
  });
  document.head.append(script);
}

tabs.addEventListener("message", (event) => {
  if (event.data === "key?") {
    if (key && !document.body.classList.contains("-closed")) tabs.postMessage({ key });
  } else if (!key && event.data.key) {
    key = event.data.key;
    start();
  }
});
if (key) {
  start();
} else {
  document.body.classList.add("-stranger");
  tabs.postMessage("key?");
}
document.getElementById("again").addEventListener("click", () => window.location.reload());
