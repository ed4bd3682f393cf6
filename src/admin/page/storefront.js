// The shop as customers see it: categories with the extensions at their top.

import { fill, foreign, h } from "./dom.js";
import { lead, ways } from "./catalog.js";
import { tile } from "./package.js";
import { problemCard } from "./signin.js";
import { store } from "./store.js";

export function storefront(view) {
	const intro = h("p", { class: "lead" });
	const shelves = h("div", { class: "cards shelves" });
	fill(view, h("h1", {}, "What your customers see"), intro, ways("storefront"), shelves);

	function paint() {
		fill(intro, lead());
		if (!store.categories) {
			fill(shelves, h("p", { class: "soft" }, "Loading the shop…"));
			return;
		}
		fill(shelves, store.categories.map(({ code, name, packages }) => h("section", { class: "card" },
			h("h2", {}, foreign(name ?? code ?? "(no name)")),
			packages.length === 0 && h("p", { class: "soft" }, "Nothing at the top of this category: customers see it empty."),
			h("ul", {}, packages.map((top) => {
				const title = top.name ?? top.code ?? "(no name)";
				return h("li", { class: "who" }, tile(title), h("div", {}, foreign(title, "strong"), h("div", { class: "soft" }, foreign(top.code, "code"))));
			})))));
	}

	function load() {
		store.loadCategories().catch((problem) => fill(shelves, problemCard(problem)));
	}

	paint();
	if (!store.categories) load();
	return (what) => {
		if (what === "shop") load();
		if (what === "catalog" || what === "signed-in") load();
		if (["shop", "catalog", "categories", "status"].includes(what)) paint();
	};
}
