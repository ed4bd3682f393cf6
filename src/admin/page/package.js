// One extension: what it is, who sells it, its state, and what can be decided about it.

import { foreign, h, host, sentence } from "./dom.js";
import { decide, LABELS, VERBS, waiting } from "./tray.js";

const STATES = { shown: "Shown", retired: "Retired", hidden: "Hidden" };
const SELLERS = { free: "Free", vendor: "Its vendor", plesk: "Plesk" };

let switches = 0;

/// The letter that stands for a picture.
export function tile(title) {
	const letter = [...title.normalize("NFC")].find((char) => /[\p{L}\p{N}]/u.test(char)) ?? "?";
	return h("span", { class: "tile", "aria-hidden": "true" }, letter.toUpperCase().slice(0, 2));
}

export function identity(row, isNew = row.isNew) {
	return h("div", { class: "who" }, tile(row.title),
		h("div", {},
			foreign(row.title, "strong"),
			isNew && h("span", { class: "pill" }, "new this week"),
			h("div", { class: "soft" }, row.code === null ? "without a code" : foreign(row.code, "code"))));
}

export function seller(row) {
	const where = host(row.buy_url);
	return h("div", { class: "seller" }, SELLERS[row.seller] ?? foreign(row.seller),
		where ? foreign(where, "small") : row.buy_url && foreign(row.buy_url, "small"));
}

/// A state in words and with its own mark, so that it is told without colour.
export function badge(state) {
	const name = Object.hasOwn(STATES, state ?? "") ? state : "gone";
	return h("span", { class: `state ${name}` }, STATES[name] ?? "Not in the catalog");
}

/// Whether something is as it should be, told likewise.
export function mark(isGood, text) {
	return h("span", { class: `state ${isGood ? "shown" : "retired"}` }, text);
}

export function standing(row) {
	return [badge(row.state), h("div", { class: "soft why" }, sentence(row.reason))];
}

/// The switch of a row. What is chosen waits in the tray; the state beside it changes when the server says so.
export function decision(row) {
	if (row.code === null) return h("span", { class: "soft" }, "Cannot be decided: it has no code");
	// SECURITY: in a list a star stands for any rest, so a vendor's code that holds one would decide on others.
	if (row.code.includes("*")) return h("span", { class: "soft" }, "Cannot be decided here: its code holds a star");
	const name = `decision-${switches += 1}`;
	const group = h("div", { class: "switch", role: "radiogroup" });
	const label = h("span", { class: "unseen", id: name }, "Decision for ", foreign(row.title));
	group.setAttribute("aria-labelledby", name);
	for (const verb of VERBS) {
		const input = h("input", { type: "radio", name, value: verb, onchange: () => decide(row, verb) });
		group.append(h("label", { class: verb }, input, h("span", {}, LABELS[verb])));
	}
	return [label, group];
}

/// Shows on a row what waits for it.
export function dress(element, row) {
	if (row.code === undefined) return;
	const verb = waiting(row.code);
	element.classList.toggle("changed", verb !== undefined);
	const chosen = verb ?? row.decision;
	element.querySelectorAll(".switch input").forEach((input) => {
		input.checked = input.value === chosen;
		input.parentElement.classList.toggle("current", input.value === row.decision);
	});
}
