// Where a list has arrived: which servers have asked since the shop last decided otherwise.

import { ago, button, count, exact, fill, foreign, h } from "./dom.js";
import { mark } from "./package.js";
import { problemCard } from "./signin.js";
import { store } from "./store.js";
import { LongTable } from "./table.js";

/// Pause between two looks, in milliseconds.
const PAUSE = 10_000;

let onlyBehind = false;

export function servers(view) {
	const intro = h("p", { class: "lead" });
	const cards = h("div", { class: "cards" });
	const body = h("div", { hidden: true });
	const table = new LongTable("Servers of the shop", ["Server", "List", "Behind since", "Last seen"], (row) => [
		foreign(row.address, "strong"),
		mark(row.state === "current", row.state === "current" ? "Has it" : "Behind"),
		row.behind_since ? [h("span", { class: "inline-label" }, "Behind since "), ago(row.behind_since)] : h("span", { class: "soft" }, "–"),
		[h("span", { class: "inline-label" }, "Last seen "), ago(row.last_seen)]]);
	table.element.classList.add("plain");
	const chips = [["All", false], ["Behind", true]].map(([text, behind]) => button([`${text} `, h("span")], () => { onlyBehind = behind; paint(); }));
	const nothing = h("div", { class: "card", hidden: true });
	const heading = h("h2");
	fill(body, heading, h("div", { class: "bar" }, h("div", { class: "chips", role: "group", "aria-label": "Servers" }, chips)), table.element, nothing);
	fill(view, h("h1", {}, "Where the lists have arrived"), intro, cards, body);

	let last = "";
	function paint() {
		if (!store.servers) return;
		const { servers: rows, counts, since } = store.servers;
		fill(intro, "A server has the list once it has asked after the last decision; Plesk asks every three days. Counted since ", h("time", { datetime: since }, exact(since)), ".");
		fill(cards, counts.map(({ shop, current, behind, changed_at: at }) => {
			const all = current + behind;
			return h("section", { class: "card" }, h("h2", {}, foreign(shop)),
				all === 0 ? h("p", {}, "No server has asked yet.") : [
					h("p", {}, h("strong", { class: "big" }, `${current.toLocaleString("en")} of ${all.toLocaleString("en")}`), ` ${all === 1 ? "server has" : "servers have"} the list in force`),
					h("progress", { max: all, value: current, "aria-label": `Servers of ${shop} that have the list` })],
				h("p", { class: "soft" }, "Last decided ", ago(at), behind > 0 && `; ${count(behind, "server is", "servers are")} behind`));
		}));
		const own = rows.filter(({ shop }) => shop === store.shop);
		const behind = own.filter(({ state }) => state === "behind");
		const shown = onlyBehind ? behind : [...behind, ...own.filter(({ state }) => state !== "behind")];
		fill(heading, "Servers of ", foreign(store.shop));
		chips.forEach((chip, at) => {
			chip.setAttribute("aria-pressed", String((at === 1) === onlyBehind));
			chip.lastChild.textContent = (at ? behind : own).length.toLocaleString("en");
		});
		body.hidden = false;
		table.element.hidden = shown.length === 0;
		nothing.hidden = shown.length > 0;
		fill(nothing, h("p", {}, own.length ? "No server is behind." : "No server of this shop has asked yet."));
		// What has not changed is not built again: whoever is reading keeps the place.
		const now = JSON.stringify(shown);
		if (now !== last) table.show(shown);
		last = now;
	}

	async function load() {
		try {
			await store.loadServers();
		} catch (problem) {
			if (store.servers) return;
			body.hidden = true;
			fill(cards, problemCard(problem));
		}
	}

	fill(intro, "Loading…");
	paint();
	load().then(() => { if (!store.servers) fill(intro); });
	const timer = setInterval(() => { if (!document.hidden && store.servers) load(); }, PAUSE);
	const follow = (what) => {
		if (what === "servers" || what === "shop") paint();
		if (what === "signed-in" || what === "signed-out") load();
	};
	follow.end = () => clearInterval(timer);
	return follow;
}
