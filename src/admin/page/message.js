// What has just happened, said where everybody notices: it is seen, and read out.

import { fill, h } from "./dom.js";

const element = document.querySelector("#message");

export function say(kind, ...content) {
  const close = h("button", { type: "button", class: "quiet", onclick: () => {
    fill(element);
    document.querySelector("#main").focus();
  } }, "Dismiss");
  fill(element, h("div", { class: `message ${kind}` }, h("div", {}, content), close));
}
