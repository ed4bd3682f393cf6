// What is new in the catalog: the newest first, and before all what nobody has decided on.

import { ago, count, fill, foreign, h } from "./dom.js";
import { decision, dress, identity, badge, standing } from "./package.js";
import { problemCard } from "./signin.js";
import { store } from "./store.js";
import { LongTable } from "./table.js";

const SELLERS = { free: "free", vendor: "sold by its vendor", plesk: "sold by Plesk" };

/// A change in words.
function told({ change, seller, was, renamed_from: before }) {
	const now = SELLERS[seller] ?? seller;
	if (change === "new") return `New, ${now}`;
	if (change === "gone") return "No longer in the catalog";
	if (change === "renamed") return ["New code, before ", foreign(before, "code"), was ? `; now ${now}` : ""];
	if (change === "switched") return `Now ${now}, before ${SELLERS[was] ?? was ?? "unknown"}`;
	return foreign(change);
}

/// News that wait for a decision in the chosen shop: one for each extension, the newest.
export function undecided() {
	const seen = new Set();
	return store.news.filter(({ package: row }) => row?.isUndecided && !seen.has(row) && seen.add(row));
}

export function news(view) {
	const intro = h("p", { class: "lead" });
	const body = h("div");
	const columns = ["Extension", "What happened", "In the shop", "Decision"];
	const build = (item) => {
		const row = item.package ?? { title: item.name || item.code, code: item.code };
		return [identity(row, false), [told(item), h("div", { class: "soft" }, ago(item.at))],
			item.package ? standing(item.package) : badge(null),
			item.package ? decision(item.package) : null];
	};
	const restyle = (element, item) => { if (item.package) dress(element, item.package); };
	const waiting = new LongTable("News that wait for a decision", columns, build, restyle);
	const rest = new LongTable("Other news", columns, build, restyle);
	for (const table of [waiting, rest]) table.element.classList.add("packages");
	fill(view, h("h1", {}, "What is new in the catalog"), intro, body);

	function paint() {
		if (store.newsProblem) {
			fill(body, problemCard(store.newsProblem));
			return;
		}
		const focused = body.contains(document.activeElement) ? { item: document.activeElement.closest("[role=row]").item, value: document.activeElement.value } : null;
		const top = undecided();
		const others = store.news.filter((item) => !top.includes(item));
		fill(intro, top.length
			? [`${count(top.length, "extension waits", "extensions wait")} for a decision in `, h("strong", {}, store.shop), "."]
			: store.news.length ? ["Nothing of this waits for a decision in ", h("strong", {}, store.shop), "."] : "");
		fill(body,
			top.length > 0 && [h("h2", {}, "To decide"), waiting.element],
			others.length > 0 && [top.length > 0 && h("h2", {}, "Earlier and decided"), rest.element],
			store.news.length === 0 && h("div", { class: "card" }, h("p", {}, "Nothing has changed since the proxy has been watching. What Plesk and vendors add, rename, sell otherwise or take away will be told here.")));
		waiting.show(top);
		rest.show(others);
		if (focused?.item) {
			const row = waiting.reveal(focused.item) ?? rest.reveal(focused.item);
			[...row?.querySelectorAll("input") ?? []].find((input) => input.value === focused.value)?.focus();
		}
	}

	paint();
	return (what) => {
		if (what === "tray") [...waiting.rows(), ...rest.rows()].forEach((row) => restyle(row, row.item));
		if (["news", "catalog", "shop"].includes(what)) paint();
	};
}
