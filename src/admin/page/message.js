// What has just happened, said where everybody notices: it is seen, and read out.

import { button, fill, h } from "./dom.js";

const element = document.querySelector("#message");

/// Takes away what was said: it is about what is no longer in sight.
export function hush() {
	fill(element);
}

export function say(kind, ...content) {
	const close = button("Dismiss", () => {
		hush();
		document.querySelector("#main").focus();
	}, "quiet");
	fill(element, h("div", { class: `message ${kind}` }, h("div", {}, content), close));
}
