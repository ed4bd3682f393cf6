// Decisions that are not made yet: collected by shop, sent together.

import { button, foreign, h, fill, count, names } from "./dom.js";
import { store } from "./store.js";
import { review } from "./review.js";

/// What can be decided, in the order of the switches.
export const VERBS = ["show", "retire", "hide", "forget"];
export const LABELS = { show: "Show", retire: "Retire", hide: "Hide", forget: "No decision" };
const PLANS = { show: "show", retire: "retire", hide: "hide", forget: "leave without a decision" };

/// By shop: code to verb.
const trays = new Map();
const element = document.querySelector("#tray");

function tray(shop = store.shop) {
	if (!trays.has(shop)) trays.set(shop, new Map());
	return trays.get(shop);
}

/// What waits for a code, if anything does.
export function waiting(code) {
	return tray().get(code);
}

/// Puts a decision into the tray; one that the list has already comes out of it.
export function decide(row, verb) {
	if (verb === row.decision) tray().delete(row.code);
	else tray().set(row.code, verb);
	store.tell("tray");
}

/// The tray of a shop as the API takes it.
export function wanted(shop) {
	const lists = Object.fromEntries(VERBS.map((verb) => [verb, []]));
	for (const [code, verb] of tray(shop)) lists[verb].push(code);
	return { shop, ...lists };
}

export function size(shop) {
	return tray(shop).size;
}

/// Takes codes out of a tray: those that were sent, or that somebody left out.
export function remove(shop, codes) {
	codes.forEach((code) => tray(shop).delete(code));
	store.tell("tray");
}

/// Puts another code in the place of one.
export function replace(shop, code, meant) {
	const verb = tray(shop).get(code);
	tray(shop).delete(code);
	if (verb) tray(shop).set(meant, verb);
	store.tell("tray");
}

function titleOf(code) {
	return store.catalog?.packages.find((row) => row.code === code)?.title ?? code;
}

/// Shows the tray of the chosen shop.
function paint() {
	const codes = tray();
	const others = [...trays].filter(([shop, waits]) => shop !== store.shop && waits.size);
	element.hidden = codes.size === 0;
	document.body.classList.toggle("has-tray", codes.size > 0);
	if (codes.size === 0) return;
	const plans = VERBS.map((verb) => [verb, [...codes].filter(([, of]) => of === verb).map(([code]) => code)]);
	const sentences = plans.filter(([, list]) => list.length).map(([verb, list], at) => {
		const text = at === 0 ? PLANS[verb][0].toUpperCase() + PLANS[verb].slice(1) : PLANS[verb];
		return [at ? "; " : "", `${text} `, names(list.map((code) => foreign(titleOf(code))))];
	});
	const why = store.readOnly();
	const focused = element.contains(document.activeElement) ? document.activeElement.dataset.action : null;
	fill(
		element,
		h("div", { class: "plan" },
			h("p", {}, h("strong", {}, count(codes.size, "change")), ` for ${store.shop}, not made yet`),
			h("p", { class: "soft" }, sentences, ".",
				others.map(([shop, waits]) => ` ${count(waits.size, "more change")} for ${shop}.`))),
		button("Discard", discard, "quiet", { "data-action": "discard" }),
		button(why && !why.signIn ? "Review and copy" : "Review and apply", () => review(store.shop), "go", { "data-action": "review" }),
	);
	if (focused) element.querySelector(`[data-action=${focused}]`)?.focus();
}

function discard() {
	tray().clear();
	store.tell("tray");
	document.querySelector("#main").focus();
}

/// Takes out what the list says by now: somebody else may have decided likewise.
function settle() {
	for (const row of store.catalog?.packages ?? []) {
		if (tray().get(row.code) === row.decision) tray().delete(row.code);
	}
}

store.on((what) => {
	if (what === "catalog") settle();
	if (["tray", "shop", "status", "catalog"].includes(what)) paint();
});

addEventListener("beforeunload", (event) => {
	if ([...trays.values()].some((codes) => codes.size > 0)) event.preventDefault();
});
